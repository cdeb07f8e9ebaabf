package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
)

// quotedBytes is how much of a transport header a message about it repeats (RFC 792),
// enough for ports and sequence number.
const quotedBytes = 8

// unreachable is why a destination is not: codes of ICMP (RFC 792, 1812) and ICMPv6
// (RFC 4443, 3.1).
type unreachable struct{ code4, code6 byte }

var (
	networkUnreachable = unreachable{0, 0}
	hostUnreachable    = unreachable{1, 0} // not 3, which the library's stack does not listen to
	portUnreachable    = unreachable{3, 4}
	prohibited         = unreachable{13, 0} // not 1, likewise
)

// unreachableFor is what a router says of an error of package net; false: nothing.
func unreachableFor(err error) (unreachable, bool) {
	for is, u := range map[error]unreachable{
		syscall.ENETUNREACH: networkUnreachable, syscall.EHOSTUNREACH: hostUnreachable, syscall.EHOSTDOWN: hostUnreachable,
		syscall.ECONNREFUSED: portUnreachable, syscall.EACCES: prohibited, syscall.EPERM: prohibited,
	} {
		if errors.Is(err, is) {
			return u, true
		}
	}
	return unreachable{}, false
}

// FailDatagram tells from that a datagram to an address failed with err, an error of
// package net, if routers have a message for such errors.
func (s *Stack) FailDatagram(from, to netip.AddrPort, err error) {
	u, known := unreachableFor(err)
	if !known {
		return
	}
	// The receiver knows the datagram by its ends; the rest is not there any more.
	udp := make([]byte, header.UDPMinimumSize)
	header.UDP(udp).Encode(&header.UDPFields{SrcPort: from.Port(), DstPort: to.Port(), Length: header.UDPMinimumSize})
	var quote []byte
	if from.Addr().Is4() {
		h := make(header.IPv4, header.IPv4MinimumSize)
		h.Encode(&header.IPv4Fields{TotalLength: uint16(len(h) + len(udp)), TTL: 1, Protocol: uint8(header.UDPProtocolNumber),
			SrcAddr: address(from.Addr()), DstAddr: address(to.Addr())})
		h.SetChecksum(^h.CalculateChecksum())
		quote = append(h, udp...)
	} else {
		h := make(header.IPv6, header.IPv6MinimumSize)
		h.Encode(&header.IPv6Fields{PayloadLength: uint16(len(udp)), TransportProtocol: header.UDPProtocolNumber, HopLimit: 1,
			SrcAddr: address(from.Addr()), DstAddr: address(to.Addr())})
		quote = append(h, udp...)
	}
	_ = s.sendUnreachable(to.Addr(), from.Addr(), u, quote) // as unreliable as the datagram
}

// sendUnreachable sends the message to an address in the name of another, about the
// packet of which quote is the beginning.
func (s *Stack) sendUnreachable(from, to netip.Addr, u unreachable, quote []byte) error {
	kind, code := byte(header.ICMPv4DstUnreachable), u.code4
	if to.Is6() {
		kind, code = byte(header.ICMPv6DstUnreachable), u.code6
	}
	return s.sendICMP(from, to, [header.ICMPv4MinimumSize]byte{0: kind, 1: code}, quote)
}

// answerEcho sends an echo reply in the name of from.
func (s *Stack) answerEcho(from, to netip.Addr, number, sequence uint16, payload []byte) error {
	h := [header.ICMPv4MinimumSize]byte{byte(header.ICMPv4EchoReply)}
	if to.Is6() {
		h[0] = byte(header.ICMPv6EchoReply)
	}
	binary.BigEndian.PutUint16(h[4:], number)
	binary.BigEndian.PutUint16(h[sequenceAt:], sequence)
	return s.sendICMP(from, to, h, payload)
}

// sendICMP sends a message of either family, whose headers are equally long; it fills in
// the checksum.
func (s *Stack) sendICMP(from, to netip.Addr, h [header.ICMPv4MinimumSize]byte, payload []byte) error {
	network, transport := ipv4.ProtocolNumber, icmp.ProtocolNumber4
	if from.Is6() {
		network, transport = ipv6.ProtocolNumber, icmp.ProtocolNumber6
	}
	route, err := s.stack.FindRoute(nic, address(from), address(to), network, false)
	if err != nil {
		return fmt.Errorf("answer %v: %w", to, errno(err))
	}
	defer route.Release()
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{ReserveHeaderBytes: int(route.MaxHeaderLength()) + len(h),
		Payload: buffer.MakeWithData(payload)})
	defer pkt.DecRef()
	pkt.TransportProtocolNumber = transport
	at := pkt.TransportHeader().Push(len(h))
	copy(at, h[:])
	if sum := checksum.Checksum(payload, 0); from.Is4() {
		header.ICMPv4(at).SetChecksum(header.ICMPv4Checksum(at, sum))
	} else {
		header.ICMPv6(at).SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: at, Src: address(from), Dst: address(to),
			PayloadCsum: sum, PayloadLen: len(payload)}))
	}
	if err := route.WritePacket(stack.NetworkHeaderParams{Protocol: transport, TTL: route.DefaultTTL()}, pkt); err != nil {
		return fmt.Errorf("answer %v: %w", to, errno(err))
	}
	return nil
}
