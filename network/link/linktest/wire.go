package linktest

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Wire is a frame as it is on a wire, taken apart.
type Wire struct {
	Src, Dst         netip.Addr
	Protocol         uint8
	ID               uint16 // of IPv4
	SrcPort, DstPort uint16
	Seq, Ack         uint32 // of TCP
	Flags            uint8
	Window           uint16
	Payload          []byte
}

// TCP flags.
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
	_
	_
	CWR
)

// Protocols.
const (
	ProtocolTCP = 6
	ProtocolUDP = 17
)

// ParseWire takes a frame with an IP packet apart, by the book and slowly. It fails
// unless all lengths and checksums are right.
func ParseWire(frame []byte) (w Wire, err error) {
	be := binary.BigEndian
	if len(frame) < 14 {
		return w, fmt.Errorf("%d bytes are no frame", len(frame))
	}
	kind, ip := be.Uint16(frame[12:]), frame[14:]
	if kind == 0x8100 {
		kind, ip = be.Uint16(frame[16:]), frame[18:]
	}
	var l4, pseudo []byte
	switch kind {
	case 0x0800:
		header := int(ip[0]&15) * 4
		total := int(be.Uint16(ip[2:]))
		if total > len(ip) || len(frame) > 60 && total != len(ip) {
			return w, fmt.Errorf("IPv4 total length %d of %d bytes", total, len(ip))
		}
		if sum := slowSum(ip[:header]); sum != 0xffff {
			return w, fmt.Errorf("the IPv4 header sums to %#x", sum)
		}
		w.ID, w.Protocol = be.Uint16(ip[4:]), ip[9]
		w.Src, w.Dst = netip.AddrFrom4([4]byte(ip[12:])), netip.AddrFrom4([4]byte(ip[16:]))
		l4 = ip[header:total]
		pseudo = append(append([]byte{}, ip[12:20]...), 0, w.Protocol, byte(len(l4)>>8), byte(len(l4)))
	case 0x86dd:
		if length := int(be.Uint16(ip[4:])); length != len(ip)-40 {
			return w, fmt.Errorf("IPv6 payload length %d of %d bytes", length, len(ip)-40)
		}
		w.Protocol = ip[6]
		w.Src, w.Dst = netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:]))
		l4 = ip[40:]
		pseudo = append(append([]byte{}, ip[8:40]...), 0, 0, byte(len(l4)>>8), byte(len(l4)), 0, 0, 0, w.Protocol)
	default:
		return w, fmt.Errorf("type %#x is not IP", kind)
	}
	if w.Protocol != ProtocolTCP && w.Protocol != ProtocolUDP {
		return w, nil
	}
	if sum := slowSum(append(pseudo, l4...)); sum != 0xffff {
		return w, fmt.Errorf("protocol %d sums to %#x over %d bytes", w.Protocol, sum, len(l4))
	}
	w.SrcPort, w.DstPort = be.Uint16(l4), be.Uint16(l4[2:])
	if w.Protocol == ProtocolUDP {
		if int(be.Uint16(l4[4:])) != len(l4) {
			return w, fmt.Errorf("UDP length %d of %d bytes", be.Uint16(l4[4:]), len(l4))
		}
		w.Payload = l4[8:]
		return w, nil
	}
	w.Seq, w.Ack, w.Flags, w.Window = be.Uint32(l4[4:]), be.Uint32(l4[8:]), l4[13], be.Uint16(l4[14:])
	w.Payload = l4[int(l4[12]>>4)*4:]
	return w, nil
}

// slowSum is the ones' complement sum of RFC 1071, word by word.
func slowSum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		word := uint32(b[i]) << 8
		if i+1 < len(b) {
			word |= uint32(b[i+1])
		}
		sum += word
		if sum > 0xffff {
			sum -= 0xffff
		}
	}
	return uint16(sum)
}
