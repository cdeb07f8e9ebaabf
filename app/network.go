package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/client"
	"github.com/quintet-os/quintet/network/client/frames"
	"github.com/quintet-os/quintet/network/dns"
)

// Network is a port of a network of the system with a TCP/IP stack of this process
// on it. Dial, Listen and the other methods of client.Stack are those of package net:
// an http.Transport takes DialContext, an http.Server a Listener. Connections survive
// the death of the network server.
type Network struct {
	*client.Stack
	port *Port
}

// NetworkOption changes how a network or a port is opened.
type NetworkOption func(*networkOptions)

type networkOptions struct{ buffers int }

// FrameBuffers sets the number of frames of up to 64 KiB that may be on their way in
// each direction, a power of two from network.BuffersMin to network.BuffersMax, 128
// by default. Each takes 64 KiB of memory once it has been used.
func FrameBuffers(n int) NetworkOption { return func(o *networkOptions) { o.buffers = n } }

// Network opens a network of the topology. Errors are *broker.Refused (no such
// network, no right to it, an address in use, a limit), broker.ErrDisconnected,
// network.KindGeometry, and the context's.
func (a *App) Network(ctx context.Context, name string, opts ...NetworkOption) (*Network, error) {
	p, err := a.Port(ctx, name, opts...)
	if err != nil {
		return nil, err
	}
	i := &p.Interface
	s, err := client.NewStack(p.Port, client.Config{MAC: i.MAC, MTU: i.MTU, Addresses: i.Addresses, Gateways: i.Gateways,
		Names: p.Lookup, Resolvers: i.Resolvers})
	if err != nil {
		return nil, fmt.Errorf("open network %s: %w", name, errors.Join(err, p.Close()))
	}
	n := &Network{Stack: s, port: p}
	a.mu.Lock()
	a.networks[n] = true
	a.mu.Unlock()
	return n, nil
}

// Interface says which addresses this application has in the network.
func (n *Network) Interface() network.Interface { return n.port.Interface }

// Shutdown closes all sockets, waits until the peers have acknowledged all that was
// written, and ends the session. When ctx ends before, what is left is reset, and the
// error is client.ErrUndelivered.
func (n *Network) Shutdown(ctx context.Context) error { return n.end(n.Stack.Shutdown(ctx)) }

// Close is Shutdown that waits for a minute at most, and for no more than ten seconds
// when no peer answers.
func (n *Network) Close() error { return n.end(n.Stack.Close()) }

func (n *Network) end(err error) error {
	n.port.app.mu.Lock()
	delete(n.port.app.networks, n)
	n.port.app.mu.Unlock()
	if err := errors.Join(err, n.port.Close()); err != nil {
		return fmt.Errorf("close network %s: %w", n.port.network, err)
	}
	return nil
}

// Port is a port of a network without a stack: it sends and receives raw frames, from
// the application's own addresses only.
type Port struct {
	*frames.Port
	session
	Interface network.Interface

	network string
}

// Port opens a port of a network. Errors are those of Network.
func (a *App) Port(ctx context.Context, name string, opts ...NetworkOption) (*Port, error) {
	o := networkOptions{buffers: network.BuffersDefault}
	for _, each := range opts {
		each(&o)
	}
	p := &Port{session: session{app: a}, network: name}
	if err := p.open(ctx, &o); err != nil {
		return nil, fmt.Errorf("open network %s: %w", name, errors.Join(err, p.session.end()))
	}
	return p, nil
}

func (p *Port) open(ctx context.Context, o *networkOptions) error {
	g := network.Geometry(o.buffers)
	if err := network.CheckGeometry(g); err != nil {
		return err
	}
	if err := p.session.open(ctx, &broker.Connect{Network: p.network, Geometry: g}, &p.Interface); err != nil {
		return err
	}
	var failed error
	var err error
	p.Port, err = grant(ctx, &p.session, network.RegionID, network.RegionBytes(o.buffers), func(mem []byte) *frames.Port {
		port, err := frames.NewPort(p.ipc, mem, o.buffers)
		if err != nil {
			failed = err
			return new(frames.Port)
		}
		return port
	})
	return errors.Join(err, failed)
}

// Lookup returns what the network says of a name: the addresses of its domains, and the
// names of addresses of its own (see dns.Reverse).
func (p *Port) Lookup(ctx context.Context, name string) (dns.Entry, error) {
	m, err := p.app.broker.Ask(ctx, &broker.Resolve{Network: p.network, Name: name})
	if err != nil {
		return dns.Entry{}, err
	}
	resolved, ok := m.Body.(*broker.Resolved)
	if !ok {
		m.CloseFDs()
		return dns.Entry{}, fmt.Errorf("%w: not an answer to resolve", broker.ErrMalformed)
	}
	return dns.Entry{Own: resolved.Own, Addresses: resolved.Addresses, Names: resolved.Names}, nil
}

// Close ends the session. It waits until the server has let go of its memory.
func (p *Port) Close() error { return p.session.end() }
