// Package vnet translates between the offload fields of a frame and the header
// that TAP interfaces and packet sockets put before each frame: struct
// virtio_net_hdr of linux/virtio_net.h, which is that of virtio 1.2, section
// 5.1.6, in the byte order of the machine.
package vnet

import (
	"encoding/binary"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/segment"
)

// Bytes is the size of the header.
const Bytes = unix.VnetHeaderBytes

const (
	headerBytesAt    = 2
	segmentBytesAt   = 4
	checksumStartAt  = 6
	checksumOffsetAt = 8

	tcpDataAt   = 12 // of the TCP header: its length, in the upper four bits
	tcpFlagsAt  = 13
	tcpBytes    = 20
	tcpFlagCWR  = 0x80
	tcpChecksum = 16
)

// Encode writes the header of a frame that begins with head.
func Encode(dst *[Bytes]byte, head []byte, o network.Offload) {
	*dst = [Bytes]byte{}
	if o.Flags&network.NeedsChecksum == 0 {
		return
	}
	ne := binary.NativeEndian
	dst[0] = unix.VnetNeedsChecksum
	ne.PutUint16(dst[checksumStartAt:], o.ChecksumStart)
	ne.PutUint16(dst[checksumOffsetAt:], o.ChecksumOffset)
	switch o.GSO {
	case network.GSOTCP4:
		dst[1] = unix.VnetGSOTCP4
	case network.GSOTCP6:
		dst[1] = unix.VnetGSOTCP6
	default:
		return
	}
	if flags := int(o.ChecksumStart) + tcpFlagsAt; flags < len(head) && head[flags]&tcpFlagCWR != 0 {
		dst[1] |= unix.VnetGSOECN
	}
	ne.PutUint16(dst[headerBytesAt:], o.HeaderBytes)
	ne.PutUint16(dst[segmentBytesAt:], o.SegmentBytes)
}

// Decode returns the offload fields of a frame that was received with header h.
// The fields are checked against the frame; false means that they contradict it,
// or ask for what is unknown here.
func Decode(h *[Bytes]byte, frame []byte) (o network.Offload, ok bool) {
	ne := binary.NativeEndian
	if h[0]&unix.VnetNeedsChecksum == 0 {
		return o, h[1] == unix.VnetGSONone
	}
	o.Flags = network.NeedsChecksum
	o.ChecksumStart, o.ChecksumOffset = ne.Uint16(h[checksumStartAt:]), ne.Uint16(h[checksumOffsetAt:])
	switch h[1] &^ unix.VnetGSOECN {
	case unix.VnetGSONone:
		return o, segment.Check(frame, len(frame), o)
	case unix.VnetGSOTCP4:
		o.GSO = network.GSOTCP4
	case unix.VnetGSOTCP6:
		o.GSO = network.GSOTCP6
	default:
		return o, false
	}
	// The kernel's header length is only a hint: how much of the frame was linear.
	start := int(o.ChecksumStart)
	if start+tcpBytes > len(frame) || o.ChecksumOffset != tcpChecksum {
		return o, false
	}
	o.HeaderBytes = uint16(start + int(frame[start+tcpDataAt]>>4)*4)
	o.SegmentBytes = ne.Uint16(h[segmentBytesAt:])
	return o, o.SegmentBytes >= network.SegmentBytesMin && segment.Check(frame, len(frame), o)
}
