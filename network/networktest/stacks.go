package networktest

import (
	"context"
	"net"
	"net/netip"

	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/client"
	"github.com/quintet-os/quintet/network/client/frames"
)

// Network is what a program sees of a TCP/IP stack.
type Network interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	Listen(network, address string) (net.Listener, error)
	ListenPacket(network, address string) (net.PacketConn, error)
}

// Peers are two stacks that reach each other.
type Peers struct {
	A, B Network
	// IPs of B, of each family it has.
	IPs []netip.Addr
}

// StackBuffers are the buffers of the ports that a Rig gives to stacks.
const StackBuffers = 64

// Stack adds Host(n) with a TCP/IP stack of its own. The server must not be
// running.
func (r *Rig) Stack(n int) *client.Stack {
	r.t.Helper()
	return r.StackOn(Host(n))
}

// StackOn adds a port with a TCP/IP stack of its own. The server must not be running.
func (r *Rig) StackOn(cfg network.PortConfig) *client.Stack {
	r.t.Helper()
	m := r.Join(cfg, StackBuffers)
	port, err := frames.NewPort(m.Client, m.Region, m.Buffers)
	if err != nil {
		r.t.Fatal(err)
	}
	s, err := client.NewStack(port, StackConfig(cfg))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := s.Abort(); err != nil {
			r.t.Error(err)
		}
	})
	return s
}

// StackConfig is that of a stack on such a port.
func StackConfig(cfg network.PortConfig) client.Config {
	c := client.Config{MAC: cfg.MAC, MTU: cfg.MTU}
	for _, a := range cfg.Addresses {
		bits := 16
		if a.Is6() {
			bits = 64
		}
		c.Addresses = append(c.Addresses, netip.PrefixFrom(a, bits))
	}
	return c
}

// Pair adds two stacks, and starts the server.
func (r *Rig) Pair() Peers {
	a, b := r.Stack(1), r.Stack(2)
	r.Serve()
	return Peers{A: a, B: b, IPs: Host(2).Addresses}
}
