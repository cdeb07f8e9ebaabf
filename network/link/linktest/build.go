package linktest

import (
	"encoding/binary"

	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/link"
)

// Ends are the Ethernet addresses of a frame.
type Ends struct{ Src, Dst network.MAC }

// Plain is a frame of a protocol that no stack knows: the type for experiments of
// IEEE 802, with a number and n bytes of payload that depend on it.
func Plain(e Ends, number uint32, n int) link.Frame {
	frame := append(append(append([]byte{}, e.Dst[:]...), e.Src[:]...), plainType>>8, plainType&0xff)
	frame = binary.BigEndian.AppendUint32(frame, number)
	for i := range n {
		frame = append(frame, byte(number*31+uint32(i)*7))
	}
	return link.Frame{Head: frame}
}

const (
	plainType    = 0x88b5
	plainNumber  = 14 // where the number stands
	plainMinimum = 42 // payload of the shortest frame on a wire
)

// Packet makes a frame of w with the checksum of the transport header left
// unfinished. With segment, a super-segment to be cut to as many bytes of payload.
// With vlan, a tagged frame.
func Packet(e Ends, w Wire, segment int, vlan uint16) link.Frame {
	be := binary.BigEndian
	frame := append(append([]byte{}, e.Dst[:]...), e.Src[:]...)
	if vlan != 0 {
		frame = be.AppendUint16(be.AppendUint16(frame, 0x8100), vlan)
	}
	l4Bytes := 8
	if w.Protocol == ProtocolTCP {
		l4Bytes = 20
	}
	total := l4Bytes + len(w.Payload)
	var pseudo []byte
	if w.Src.Is4() {
		frame = be.AppendUint16(frame, 0x0800)
		ip := []byte{0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, w.Protocol, 0, 0}
		be.PutUint16(ip[2:], uint16(20+total))
		be.PutUint16(ip[4:], w.ID)
		ip = append(append(ip, w.Src.AsSlice()...), w.Dst.AsSlice()...)
		be.PutUint16(ip[10:], ^slowSum(ip))
		pseudo = append(append([]byte{}, ip[12:]...), 0, w.Protocol, byte(total>>8), byte(total))
		frame = append(frame, ip...)
	} else {
		frame = be.AppendUint16(frame, 0x86dd)
		ip := []byte{0x60, 0, 0, 0, byte(total >> 8), byte(total), w.Protocol, 64}
		ip = append(append(ip, w.Src.AsSlice()...), w.Dst.AsSlice()...)
		pseudo = append(append([]byte{}, ip[8:]...), 0, 0, byte(total>>8), byte(total), 0, 0, 0, w.Protocol)
		frame = append(frame, ip...)
	}
	o := network.Offload{Flags: network.NeedsChecksum, ChecksumStart: uint16(len(frame)), ChecksumOffset: 6}
	frame = be.AppendUint16(be.AppendUint16(frame, w.SrcPort), w.DstPort)
	if w.Protocol == ProtocolUDP {
		frame = be.AppendUint16(be.AppendUint16(frame, uint16(total)), slowSum(pseudo))
	} else {
		o.ChecksumOffset = 16
		frame = be.AppendUint32(be.AppendUint32(frame, w.Seq), w.Ack)
		frame = be.AppendUint16(append(frame, 5<<4, w.Flags), w.Window)
		frame = be.AppendUint16(be.AppendUint16(frame, slowSum(pseudo)), 0)
		if segment != 0 {
			o.GSO, o.HeaderBytes, o.SegmentBytes = network.GSOTCP6, uint16(len(frame)), uint16(segment)
			if w.Src.Is4() {
				o.GSO = network.GSOTCP4
			}
		}
	}
	return link.Frame{Head: frame, Rest: w.Payload, Offload: o}
}
