package client

import (
	"fmt"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// Forwarder makes a stack a router: it takes what is sent to addresses that are not
// the stack's own, and answers in their name. The port must be an uplink. What goes
// to a socket of the stack itself stays with that. All functions must be there.
type Forwarder struct {
	// TCP is called in a goroutine of its own for each connection that somebody asks
	// for, and calls Accept or Fail.
	TCP func(*Opening)
	// UDP is called with the first datagram of each pair of ends; conn has the other
	// ones as well, until it is closed. It must not block; false refuses the pair.
	UDP func(from, to netip.AddrPort, conn func() (*UDPConn, error)) bool
	// Echo is called for each ICMP echo request; answer sends a reply with the payload
	// it is given. It must not block; payload is its own.
	Echo func(from, to netip.Addr, id, sequence uint16, payload []byte, answer func(payload []byte) error)
}

// forward makes s a router, before any packet comes in.
func (s *Stack) forward(f *Forwarder) error {
	if err := s.stack.SetPromiscuousMode(nic, true); err != nil {
		return fmt.Errorf("take packets for any address: %v", err)
	}
	if err := s.stack.SetSpoofing(nic, true); err != nil {
		return fmt.Errorf("send packets from any address: %v", err)
	}
	openings := newOpenings(s, f.TCP)
	datagram := udp.NewForwarder(s.stack, func(r *udp.ForwarderRequest) bool {
		from, to := ends(r.ID())
		return f.UDP(from, to, func() (*UDPConn, error) {
			var queue waiter.Queue
			ep, err := r.CreateEndpoint(&queue)
			if err != nil {
				return nil, fmt.Errorf("take datagrams from %v to %v: %v", from, to, err)
			}
			return newUDPConn(s, ep, &queue, true), nil
		})
	})
	s.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, openings.handle)
	s.stack.SetTransportProtocolHandler(udp.ProtocolNumber, datagram.HandlePacket)
	for _, protocol := range []tcpip.TransportProtocolNumber{icmp.ProtocolNumber4, icmp.ProtocolNumber6} {
		s.stack.SetTransportProtocolHandler(protocol, func(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
			return s.echo(f, id, pkt)
		})
	}
	return nil
}

func ends(id stack.TransportEndpointID) (from, to netip.AddrPort) {
	return netip.AddrPortFrom(ip(id.RemoteAddress), id.RemotePort), netip.AddrPortFrom(ip(id.LocalAddress), id.LocalPort)
}

func ip(a tcpip.Address) netip.Addr {
	ip, _ := netip.AddrFromSlice(a.AsSlice())
	return ip
}

// echo hands an echo request on; false if the packet is none.
func (s *Stack) echo(f *Forwarder, id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	from, to := ip(id.RemoteAddress), ip(id.LocalAddress)
	for _, own := range s.cfg.Addresses {
		if own.Addr() == to {
			return false // the stack answers itself
		}
	}
	h := pkt.TransportHeader().Slice()
	var number, sequence uint16
	switch {
	case to.Is4() && len(h) >= header.ICMPv4MinimumSize && header.ICMPv4(h).Type() == header.ICMPv4Echo:
		number, sequence = header.ICMPv4(h).Ident(), header.ICMPv4(h).Sequence()
	case to.Is6() && len(h) >= header.ICMPv6EchoMinimumSize && header.ICMPv6(h).Type() == header.ICMPv6EchoRequest:
		number, sequence = header.ICMPv6(h).Ident(), header.ICMPv6(h).Sequence()
	default:
		return false
	}
	payload := pkt.Data().AsRange().ToSlice()
	f.Echo(from, to, number, sequence, payload, func(payload []byte) error {
		return s.answerEcho(to, from, number, sequence, payload)
	})
	return true
}
