package client

import (
	"fmt"
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// openingMax bounds the connections that are being opened at once; requests beyond
// are not answered, and come again.
const openingMax = 1024

// Forwarder makes a stack a router: it takes what is sent to addresses that are not
// the stack's own, and answers in their name. The port must be an uplink. What goes
// to a socket of the stack itself stays with that. All functions must be there.
type Forwarder struct {
	// TCP is called in a goroutine of its own for each new connection. Without a call
	// of accept, the connection is refused when TCP returns.
	TCP func(from, to netip.AddrPort, accept func() (net.Conn, error))
	// UDP is called with the first datagram of each pair of ends; conn has the other
	// ones as well, until it is closed. It must not block; false refuses the pair.
	UDP func(from, to netip.AddrPort, conn func() (net.Conn, error)) bool
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
	accept := tcp.NewForwarder(s.stack, 0, openingMax, func(r *tcp.ForwarderRequest) {
		accepted := false
		from, to := ends(r.ID())
		f.TCP(from, to, func() (net.Conn, error) {
			var queue waiter.Queue
			ep, err := r.CreateEndpoint(&queue)
			if err != nil {
				return nil, fmt.Errorf("accept a connection from %v to %v: %v", from, to, err)
			}
			accepted = true
			r.Complete(false)
			return newTCPConn(s, ep, &queue, keepAliveDefault), nil
		})
		if !accepted {
			r.Complete(true)
		}
	})
	datagram := udp.NewForwarder(s.stack, func(r *udp.ForwarderRequest) bool {
		from, to := ends(r.ID())
		return f.UDP(from, to, func() (net.Conn, error) {
			var queue waiter.Queue
			ep, err := r.CreateEndpoint(&queue)
			if err != nil {
				return nil, fmt.Errorf("take datagrams from %v to %v: %v", from, to, err)
			}
			return newUDPConn(s, ep, &queue, true), nil
		})
	})
	s.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, accept.HandlePacket)
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

// answerEcho sends an echo reply in the name of from.
func (s *Stack) answerEcho(from, to netip.Addr, number, sequence uint16, payload []byte) error {
	network, transport := ipv4.ProtocolNumber, icmp.ProtocolNumber4
	if from.Is6() {
		network, transport = ipv6.ProtocolNumber, icmp.ProtocolNumber6
	}
	route, err := s.stack.FindRoute(nic, address(from), address(to), network, false)
	if err != nil {
		return fmt.Errorf("answer %v: %v", to, err)
	}
	defer route.Release()
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{ReserveHeaderBytes: int(route.MaxHeaderLength()) + header.ICMPv6EchoMinimumSize,
		Payload: buffer.MakeWithData(payload)})
	defer pkt.DecRef()
	pkt.TransportProtocolNumber = transport
	if from.Is4() {
		h := header.ICMPv4(pkt.TransportHeader().Push(header.ICMPv4MinimumSize))
		h.SetType(header.ICMPv4EchoReply)
		h.SetIdent(number)
		h.SetSequence(sequence)
		h.SetChecksum(header.ICMPv4Checksum(h, checksum.Checksum(payload, 0)))
	} else {
		h := header.ICMPv6(pkt.TransportHeader().Push(header.ICMPv6EchoMinimumSize))
		h.SetType(header.ICMPv6EchoReply)
		h.SetIdent(number)
		h.SetSequence(sequence)
		h.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: h, Src: address(from), Dst: address(to),
			PayloadCsum: checksum.Checksum(payload, 0), PayloadLen: len(payload)}))
	}
	if err := route.WritePacket(stack.NetworkHeaderParams{Protocol: transport, TTL: route.DefaultTTL()}, pkt); err != nil {
		return fmt.Errorf("answer %v: %v", to, err)
	}
	return nil
}
