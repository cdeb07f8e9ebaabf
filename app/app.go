// Package app is what a Go program imports to use a Quintet system.
//
//	a, err := app.Connect(ctx)
//	v, err := a.Volume(ctx, "data")
//	_, err = v.WriteAt(p, 0)
//
// Purpose: it turns the supervisor's descriptors into sessions with servers. A
// session survives the death of its server: calls in flight return when a
// successor has answered them, once, and the program does nothing for it. It ends
// with the supervisor, whose end is that of all servers: calls then return an
// error of storage.KindClosed, and Connect finds the next one.
//
// Trust: the supervisor, and the servers with the data they are asked to keep.
// No server can write this process's memory, but for the regions granted to it.
//
// Locks: App.mu guards the list of sessions, and is a leaf.
package app

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
)

// App is a connection to a running system. All methods may be called from any
// goroutine.
type App struct {
	broker *broker.Client
	leases func(broker.Body) // may be nil

	mu       sync.Mutex
	sessions map[uint64]*session
	networks map[*Network]bool // those open
	early    map[uint64]string // sessions that ended before they were entered
	closed   bool              // by Close
	lost     bool              // the supervisor has gone
}

// Option changes how Connect connects.
type Option func(*options)

type options struct {
	socket, name string
	domain       string
	leases       func(broker.Body)
	conn         *broker.Conn
}

// WithSocket names the supervisor's socket. The default is $QUINTET_SOCKET, and
// without it the socket of the default state directory.
func WithSocket(path string) Option { return func(o *options) { o.socket = path } }

// WithName names the application in `quintet ps`. The default is the name of the
// program. An application that `quintet run --name` started keeps that name.
func WithName(name string) Option { return func(o *options) { o.name = name } }

// WithDomain says which domain of `quintet run` the program belongs to, by its token.
// The default is $QUINTET_DOMAIN.
func WithDomain(token string) Option { return func(o *options) { o.domain = token } }

// WithLeases has f called with what the supervisor asks of an uplink: *broker.Lease and
// *broker.Release. It must not block.
func WithLeases(f func(broker.Body)) Option { return func(o *options) { o.leases = f } }

// WithConnection uses a connection that the supervisor has made, for a gateway that it
// has started.
func WithConnection(c *broker.Conn) Option { return func(o *options) { o.conn = c } }

// Connect connects to the supervisor. It fails if there is none, with
// *broker.Refused if it does not admit this program (another version of the
// protocol, too many applications), and with the context's error.
func Connect(ctx context.Context, opts ...Option) (*App, error) {
	o := options{socket: os.Getenv(broker.SocketVariable), name: filepath.Base(os.Args[0]), domain: os.Getenv(broker.DomainVariable)}
	for _, each := range opts {
		each(&o)
	}
	a := &App{leases: o.leases, sessions: make(map[uint64]*session), networks: make(map[*Network]bool), early: make(map[uint64]string)}
	hello := broker.Hello{Name: broker.PrintableName(o.name), Domain: o.domain}
	var err error
	if o.conn != nil {
		a.broker, err = broker.NewClientOn(ctx, o.conn, hello, a.told)
	} else {
		connect := broker.NewClient
		if o.socket == "" {
			connect, o.socket = broker.NewOwnClient, broker.SocketPath(broker.DefaultStateDir())
		}
		a.broker, err = connect(ctx, o.socket, hello, a.told)
	}
	if err != nil {
		return nil, err
	}
	go a.watch()
	return a, nil
}

// watch ends all sessions when the supervisor has gone: nobody would replace
// their servers.
func (a *App) watch() {
	<-a.broker.Gone()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lost = true
	if a.closed {
		return
	}
	for _, v := range a.sessions {
		v.ipc.Fail(ipc.ReasonRevoked, broker.ErrDisconnected.Error())
	}
}

// told takes what the supervisor says unasked.
func (a *App) told(body broker.Body) {
	if e, is := body.(*broker.Ended); is {
		a.ended(e)
	} else if a.leases != nil {
		a.leases(body)
	}
}

// ended marks a session that the system has ended, for a server that could not
// say so in the session itself.
func (a *App) ended(e *broker.Ended) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if v := a.sessions[e.Session]; v != nil {
		v.ipc.Fail(ipc.ReasonRevoked, e.Reason)
	} else if len(a.early) < earlyMax {
		a.early[e.Session] = e.Reason
	}
}

// earlyMax bounds what is remembered of sessions that were never entered.
const earlyMax = 64

// Broker is the connection to the supervisor.
func (a *App) Broker() *broker.Client { return a.broker }

// Shutdown shuts down all networks, as Network.Shutdown does, side by side, and ends
// all sessions and the connection. Operations in flight on volumes return an error of
// storage.KindClosed.
func (a *App) Shutdown(ctx context.Context) error {
	return a.end(func(n *Network) error { return n.Shutdown(ctx) })
}

// Close is Shutdown with the bounds of Network.Close. A program that has written to
// connections calls one of them before it ends: what peers have not acknowledged when a
// program ends is lost with it, and the switch resets the connections that are left.
func (a *App) Close() error { return a.end((*Network).Close) }

func (a *App) end(close func(*Network) error) error {
	err := a.endNetworks(close)
	a.mu.Lock()
	a.closed = true
	var open []*session
	for _, v := range a.sessions {
		open = append(open, v)
	}
	a.mu.Unlock()
	for _, s := range open {
		_ = s.ipc.Close()
	}
	// The supervisor ends the sessions of an application that has gone. The
	// granted memory stays mapped here: a device may still write to it.
	return errors.Join(err, a.broker.Close())
}

func (a *App) endNetworks(close func(*Network) error) error {
	a.mu.Lock()
	networks := slices.Collect(maps.Keys(a.networks))
	a.mu.Unlock()
	errs := make([]error, len(networks))
	var closing sync.WaitGroup
	for i, n := range networks {
		closing.Go(func() { errs[i] = close(n) })
	}
	closing.Wait()
	return errors.Join(errs...)
}
