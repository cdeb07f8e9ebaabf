package client

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"

	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/client/frames"
	"github.com/quintet-os/quintet/network/dns"
)

const (
	nic = 1

	// Socket buffers, bytes. The maxima are those that Tailscale found to fill fast
	// long paths; the stack grows a buffer towards its maximum as a connection
	// needs it.
	receiveDefault, receiveMax = 1 << 20, 8 << 20
	sendDefault, sendMax       = 1 << 20, 6 << 20
	socketMin                  = 4 << 10

	linkLocalBits = 64 // of the network that link-local addresses are in
)

var transports = []stack.TransportProtocolFactory{tcp.NewProtocolCUBIC, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6}

// Config describes the interface of a stack.
type Config struct {
	MAC network.MAC
	MTU int
	// Addresses are the interface's own, with the length of their network.
	Addresses []netip.Prefix
	// Gateways are the routers of last resort, at most one of each family.
	Gateways []netip.Addr
	// Names are those of the network's domains; nil knows none.
	Names dns.Names
	// Resolvers are asked, over the stack itself, about all other names; none: there
	// are no others.
	Resolvers []netip.AddrPort
	// BufferBytes are the most that a socket's receive and send buffers hold, each; 0 for
	// 8 and 6 MiB.
	BufferBytes int
	// Forward makes the stack a router; nil for a host.
	Forward *Forwarder
}

// Stack is a TCP/IP stack of this process on one port. All methods may be called
// from any goroutine.
type Stack struct {
	cfg      Config
	stack    *stack.Stack
	link     *endpoint
	resolver *net.Resolver

	mu      sync.Mutex // guards sockets; a leaf
	sockets map[*socket]io.Closer
}

// quiet keeps the library's log off the standard error of the program, which is not ours:
// what it warns of is what a hostile network sends, and is counted.
var quiet = sync.OnceFunc(func() { log.SetTarget(&log.GoogleEmitter{Writer: &log.Writer{Next: io.Discard}}) })

// NewStack starts a stack on a port, which it takes over. Errors are KindConfig.
func NewStack(port *frames.Port, cfg Config) (*Stack, error) {
	quiet()
	s := &Stack{cfg: cfg, link: newEndpoint(port, cfg.MAC, cfg.MTU), sockets: make(map[*socket]io.Closer)}
	s.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol, arp.NewProtocol},
		TransportProtocols: transports,
		HandleLocal:        cfg.Forward == nil, // a router takes any address for its own, and would keep all it sends
	})
	s.resolver = s.newResolver()
	if err := s.configure(); err != nil {
		s.stack.Close()
		return nil, &network.Error{Kind: network.KindConfig, Detail: err.Error()}
	}
	s.link.start()
	return s, nil
}

func (s *Stack) configure() error {
	if err := s.setOptions(); err != nil {
		return err
	}
	if err := s.stack.CreateNIC(nic, s.link); err != nil {
		return fmt.Errorf("create the interface: %v", err)
	}
	for _, p := range s.cfg.Addresses {
		if err := s.addAddress(nic, p); err != nil {
			return err
		}
	}
	// An interface that speaks IPv6 has a link-local address too (RFC 4291, 2.1).
	if own := netip.PrefixFrom(s.cfg.MAC.LinkLocal(), linkLocalBits); s.has(6) && !slices.Contains(s.cfg.Addresses, own) {
		if err := s.addAddress(nic, own); err != nil {
			return err
		}
	}
	if s.cfg.Forward == nil {
		if err := s.addLoopback(); err != nil {
			return err
		}
	} else {
		s.link.ignore = s.strange
		if err := s.forward(s.cfg.Forward); err != nil {
			return err
		}
	}
	for _, g := range s.cfg.Gateways {
		everywhere := header.IPv4EmptySubnet
		if g.Is6() {
			everywhere = header.IPv6EmptySubnet
		}
		s.stack.AddRoute(tcpip.Route{Destination: everywhere, Gateway: address(g), NIC: nic})
	}
	return nil
}

func (s *Stack) setOptions() error {
	// Not RACK: with it, the stack sends a lost super-segment again two segments at a
	// timeout; see docs/decisions/loss-recovery.md.
	sack, recovery, moderate := tcpip.TCPSACKEnabled(true), tcpip.TCPRecovery(0), tcpip.TCPModerateReceiveBufferOption(true)
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: socketMin, Default: receiveDefault, Max: receiveMax}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: socketMin, Default: sendDefault, Max: sendMax}
	if n := s.cfg.BufferBytes; n > 0 {
		receive.Default, receive.Max = min(receive.Default, n), n
		send.Default, send.Max = min(send.Default, n), n
	}
	for name, option := range map[string]tcpip.SettableTransportProtocolOption{
		"SACK": &sack, "loss recovery": &recovery, "receive buffer moderation": &moderate,
		"receive buffers": &receive, "send buffers": &send,
	} {
		if err := s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return fmt.Errorf("set TCP's %s: %v", name, err)
		}
	}
	return nil
}

// Addresses are the stack's own.
func (s *Stack) Addresses() []netip.Prefix { return s.cfg.Addresses }

// Err is nil while the link works, and then the error that ended it.
func (s *Stack) Err() error { return s.link.Err() }

// Ended is closed when the link has ended, of itself or by Close.
func (s *Stack) Ended() <-chan struct{} { return s.link.ended }

// Dropped is the number of packets for which there was no room on their way out.
func (s *Stack) Dropped() uint64 { return s.link.dropped.Load() }

// Damaged is the number of frames that came with a wrong checksum.
func (s *Stack) Damaged() uint64 { return s.link.damaged.Load() }

// Retransmissions are the segments of TCP that were sent again, and how often one was
// because its timeout had passed.
func (s *Stack) Retransmissions() (segments, timeouts uint64) {
	c := s.stack.Stats().TCP
	return c.Retransmits.Value(), c.Timeouts.Value()
}

func address(a netip.Addr) tcpip.Address { return tcpip.AddrFromSlice(a.AsSlice()) }
