package dhcp

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/quintet-os/quintet/network"
)

// inboxMax bounds the answers to one port that wait to be looked at; more are dropped,
// and come again if they matter.
const inboxMax = 8

// Config says what a client has to do with.
type Config struct {
	// Send sends a frame out of the link. A frame may get lost; an error is taken for
	// that, and reported if no answer comes. It may be called from any goroutine.
	Send func(frame []byte) error
	// Lost is called when a lease has ended, with an *Error that says why. The port may
	// not use its address any longer, and can acquire another. Nil: nobody is told.
	Lost func(mac network.MAC, why error)
	// Changed is called when a lease was renewed with other gateways or resolvers. Nil:
	// nobody is told. Neither it nor Lost may wait for Close.
	Changed func(mac network.MAC, now Lease)
	// Suspended is for how long the machine has been suspended so far: time in which
	// leases ran, and no clock of this process. Nil: never.
	Suspended func() time.Duration
}

// Client gets and keeps the leases of the ports of one network. All methods may be
// called from any goroutine.
type Client struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu     sync.Mutex // guards what follows, and port.bound; a leaf
	ports  map[network.MAC]*port
	closed bool
}

// New returns a client that does nothing until Acquire.
func New(cfg Config) *Client {
	if cfg.Suspended == nil {
		cfg.Suspended = func() time.Duration { return 0 }
	}
	c := &Client{cfg: cfg, ports: make(map[network.MAC]*port)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// answer is a message of a server.
type answer struct {
	*dhcpv4.DHCPv4
	via network.MAC
}

// Filter takes a frame that came in by the link if it is an answer to one of the ports;
// false if it is not and so has to go on.
func (c *Client) Filter(frame []byte) (taken bool) {
	data, mac, via, ok := message(frame)
	if !ok {
		return false
	}
	c.mu.Lock()
	p := c.ports[mac]
	c.mu.Unlock()
	if p == nil {
		return false
	}
	m, err := dhcpv4.FromBytes(bytes.Clone(data))
	if err != nil {
		return true
	}
	select {
	case p.inbox <- answer{m, via}:
	default:
	}
	return true
}

// Acquire gets a lease for a port, and keeps it from then on: it is renewed in time. It
// asks until ctx ends. The server is told the name of the host, unless that is empty.
// Errors are *Error; when ctx has ended, its error is the cause.
func (c *Client) Acquire(ctx context.Context, mac network.MAC, hostname string) (Lease, error) {
	p, err := c.add(mac, hostname)
	if err != nil {
		return Lease{}, err
	}
	stop := context.AfterFunc(ctx, p.cancel)
	b, failed := p.acquire()
	if !stop() { // ctx has ended, and with it whatever was under way
		if failed == nil {
			p.release(b)
			failed = &Error{Kind: KindSilent, MAC: mac}
		}
		failed.Err = errors.Join(ctx.Err(), failed.Err)
	}
	if c.settle(p, b, failed != nil) {
		return b.lease, nil
	}
	if failed == nil || failed.Kind == KindSilent && ctx.Err() == nil {
		failed = &Error{Kind: KindClosed, MAC: mac}
	}
	return Lease{}, failed
}

// settle ends an Acquire: the lease is kept from now on, or the port is forgotten.
func (c *Client) settle(p *port, b binding, failed bool) (bound bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	current := c.ports[p.mac] == p // neither released nor closed meanwhile
	if current && !failed {
		p.bound = b
		c.tasks.Go(func() { c.keep(p, b) })
		return true
	}
	p.cancel()
	if current {
		delete(c.ports, p.mac)
	}
	return false
}

func (c *Client) add(mac network.MAC, hostname string) (*port, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, &Error{Kind: KindClosed, MAC: mac}
	case c.ports[mac] != nil:
		return nil, &Error{Kind: KindTaken, MAC: mac}
	case len(c.ports) >= network.PortsMax:
		return nil, &Error{Kind: KindLimit, MAC: mac}
	}
	p := &port{send: c.cfg.Send, suspended: c.cfg.Suspended, mac: mac, hostname: hostname, inbox: make(chan answer, inboxMax)}
	p.ctx, p.cancel = context.WithCancel(c.ctx)
	c.ports[mac] = p
	return p, nil
}

// keep renews a lease until it is lost or released.
func (c *Client) keep(p *port, b binding) {
	for {
		next, err := p.renew(b)
		c.mu.Lock()
		if c.ports[p.mac] != p || p.ctx.Err() != nil {
			c.mu.Unlock()
			return // released or closed
		}
		if err != nil {
			delete(c.ports, p.mac)
			p.cancel()
		}
		p.bound = next
		c.mu.Unlock()
		if err != nil {
			if c.cfg.Lost != nil {
				c.cfg.Lost(p.mac, err)
			}
			return
		}
		if !next.lease.same(&b.lease) && c.cfg.Changed != nil {
			c.cfg.Changed(p.mac, next.lease)
		}
		b = next
	}
}

// Release gives the lease of a port back, if it has one, and forgets the port. An
// Acquire that is under way fails.
func (c *Client) Release(mac network.MAC) {
	c.mu.Lock()
	p := c.ports[mac]
	if p == nil {
		c.mu.Unlock()
		return
	}
	delete(c.ports, mac)
	p.cancel()
	b := p.bound
	c.mu.Unlock()
	if len(b.lease.Addresses) > 0 {
		p.release(b)
	}
}

// Close ends the keeping of all leases, without giving them back: whoever comes next
// with the same MAC gets the same address. No callback is called after Close has
// returned.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	clear(c.ports)
	c.mu.Unlock()
	c.cancel()
	c.tasks.Wait()
}
