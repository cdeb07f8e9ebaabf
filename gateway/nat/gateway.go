package nat

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quintet-os/quintet/internal/share"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/client"
	"github.com/quintet-os/quintet/network/client/frames"
	"github.com/quintet-os/quintet/network/dns"
)

const (
	// echoesMax bounds the echo requests that wait for an answer.
	echoesMax = 256
	// dialMax is how long the world may take to accept a connection.
	dialMax = 30 * time.Second
	// udpIdle is how long a pair of ends is kept without traffic (RFC 4787, REQ-5:
	// no less than two minutes), dnsIdle if the pair asks a resolver.
	udpIdle = 2 * time.Minute
	dnsIdle = 20 * time.Second
	// echoMax is how long the answer to an echo request may take.
	echoMax = 10 * time.Second

	dnsPort = 53
)

// Config describes a gateway.
type Config struct {
	// Port of the switch; it must be an uplink.
	Port *frames.Port
	// MAC, MTU and Addresses are those of the gateway in its network. Guests have the
	// addresses as their default routes.
	MAC       network.MAC
	MTU       int
	Addresses []netip.Prefix
	// Names are those of the network's domains, which the gateway answers for at port
	// 53 of Addresses, by UDP and TCP. With nil, what guests send there goes to the
	// first of Resolvers as it is.
	Names dns.Names
	// Resolvers are asked about other names; nil: there are none.
	Resolvers dns.Resolvers
	// Publish are ports of the host that lead to guests.
	Publish []Publish
	// Memory is what the process may use, bytes: it bounds connections and their
	// buffers. 0: MemoryDefault.
	Memory int64
	// Dial opens connections of the host, Ping sockets for ICMP echo; nil for those of
	// the process's own network namespace.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	Ping func(to netip.Addr) (net.Conn, error)
}

// Counters of a gateway.
type Counters struct {
	Connections, Pairs, Echoes uint64 // accepted since the start
	Open                       int    // connections and pairs now
	Refused                    uint64 // by a rule or a bound
	Evicted                    uint64 // by those who had fewer
	Failed                     uint64 // the host could not reach whom the guest wanted
}

// Gateway carries connections until it is closed.
type Gateway struct {
	cfg    Config
	limits limits
	stack  *client.Stack
	own    map[netip.Addr]bool
	names  *dns.Answerer // nil: resolvers are reached as port 53
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	connections, pairs, echoes *share.Pool[owner]

	mu     sync.Mutex // guards closed, and the start of tasks
	closed bool

	counters struct{ connections, pairs, echoes, refused, evicted, failed atomic.Uint64 }
}

// New starts a gateway, which owns the port from now on, even if it fails. It fails
// when a published port cannot be listened on, and with errors of package network.
func New(cfg Config) (*Gateway, error) {
	limits := limitsOf(cfg.Memory)
	g := &Gateway{cfg: cfg, limits: limits, own: make(map[netip.Addr]bool),
		connections: share.NewPool[owner](limits.connections), pairs: share.NewPool[owner](limits.pairs), echoes: share.NewPool[owner](echoesMax)}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	for _, p := range cfg.Addresses {
		g.own[p.Addr()] = true
	}
	if g.cfg.Dial == nil {
		g.cfg.Dial = new(net.Dialer).DialContext
	}
	if g.cfg.Ping == nil {
		g.cfg.Ping = Ping
	}
	if cfg.Names != nil {
		g.names = &dns.Answerer{Names: cfg.Names}
		if cfg.Resolvers != nil {
			g.names.Forward = dns.Exchange(g.cfg.Dial, cfg.Resolvers)
		}
	}
	var err error
	g.stack, err = client.NewStack(cfg.Port, client.Config{MAC: cfg.MAC, MTU: cfg.MTU, Addresses: cfg.Addresses, Names: cfg.Names,
		BufferBytes: bufferBytesMax, Forward: &client.Forwarder{TCP: g.connection, UDP: g.pair, Echo: g.echo}})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("nat: %w", err), cfg.Port.Close())
	}
	for _, p := range cfg.Publish {
		if err := g.publish(p); err != nil {
			return nil, errors.Join(fmt.Errorf("nat: publish %v: %w", p, err), g.Close())
		}
	}
	return g, nil
}

// Counters tells what has happened.
func (g *Gateway) Counters() Counters {
	c := &g.counters
	return Counters{Connections: c.connections.Load(), Pairs: c.pairs.Load(), Echoes: c.echoes.Load(), Refused: c.refused.Load(),
		Evicted: c.evicted.Load(), Failed: c.failed.Load(), Open: g.connections.Taken() + g.pairs.Taken()}
}

// Err is nil while the port works, and then the error that ended it.
func (g *Gateway) Err() error { return g.stack.Err() }

// Ended is closed when the port has come to its end.
func (g *Gateway) Ended() <-chan struct{} { return g.stack.Ended() }

// Close ends all connections and the port's session.
func (g *Gateway) Close() error {
	g.cancel()
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	err := g.stack.Abort()
	g.tasks.Wait()
	return err
}

// owner is who pays for what is carried: a guest, by its address, or the name of the
// guest that a published port leads to, for what comes in.
type owner string

func ownerOf(a netip.Addr) owner { return owner(a.Unmap().String()) }

// enter takes one of the places of a pool for an owner and starts task in a goroutine;
// false when there is none left for him. The task's context ends with the gateway, and
// when the place is given to somebody who has fewer.
func (g *Gateway) enter(places *share.Pool[owner], who owner, task func(context.Context)) bool {
	ctx, cancel := context.WithCancel(g.ctx)
	place := places.Take(who, func() {
		g.counters.evicted.Add(1)
		cancel()
	})
	if place == nil {
		g.counters.refused.Add(1)
	}
	if place == nil || !g.start(func() {
		defer cancel()
		defer place.Leave()
		task(ctx)
	}) {
		cancel()
		return false
	}
	return true
}

// start runs a task in a goroutine that Close waits for; false when it is too late.
func (g *Gateway) start(task func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.tasks.Go(task)
	}
	return !g.closed
}

// target is where in the world an address of a guest leads; false when nowhere.
func (g *Gateway) target(to netip.AddrPort) (netip.AddrPort, bool) {
	a := to.Addr().Unmap()
	if g.own[a] {
		if to.Port() == dnsPort && g.cfg.Resolvers != nil {
			if all := g.cfg.Resolvers(g.ctx); len(all) > 0 {
				return all[0], true
			}
		}
		return netip.AddrPort{}, false
	}
	if !reachable(a) {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a, to.Port()), true
}

var (
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")    // RFC 1122: this host
	translated  = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052: IPv4 in IPv6
	compatible  = netip.MustParsePrefix("::/96")        // RFC 4291, 2.5.5.1: the same, of old
	limited     = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

// reachable tells whether guests may speak to an address.
func reachable(a netip.Addr) bool {
	return a.IsValid() && !a.IsLoopback() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLinkLocalUnicast() && !a.Is4In6() &&
		!thisNetwork.Contains(a) && !translated.Contains(a) && !compatible.Contains(a) && a != limited
}
