package network

import (
	"fmt"

	"github.com/quintet-os/quintet/ipc"
)

const (
	// FrameBytesMax bounds a frame: Ethernet header, 802.1Q tag and the largest IP
	// packet.
	FrameBytesMax = EthernetBytes + TagBytes + 65535
	// HeadersBytesMax bounds the headers of a frame, from the Ethernet header to
	// the transport header or the neighbour discovery message: what the server
	// copies and checks.
	HeadersBytesMax = 256
	// SegmentBytesMin is the smallest payload into which a super-segment may ask to
	// be cut, so that one frame cannot become thousands.
	SegmentBytesMin = 48

	// EthernetBytes is the length of an Ethernet header, TagBytes that of an 802.1Q
	// tag in it.
	EthernetBytes = 14
	TagBytes      = 4
)

// GSO says whether and how a frame is to be cut before it leaves for a device.
type GSO uint8

const (
	GSONone GSO = iota
	GSOTCP4     // TCP over IPv4
	GSOTCP6     // TCP over IPv6
	gsoEnd
)

// Flags of a frame.
type Flags uint8

const (
	// NeedsChecksum: the transport checksum covers the pseudo-header only; the
	// receiver either trusts it or finishes it, from ChecksumStart to the end.
	NeedsChecksum Flags = 1 << iota
	flagsEnd
)

// Offload is what a sender leaves to whoever is last to see the frame. The zero
// value asks for nothing.
type Offload struct {
	Flags Flags
	GSO   GSO
	// HeaderBytes is the length of all headers of a super-segment, SegmentBytes
	// that of the payload of each frame it is cut to.
	HeaderBytes  uint16
	SegmentBytes uint16
	// ChecksumStart is where the checksum begins, from the start of the frame, and
	// ChecksumOffset where it is to be stored, from there.
	ChecksumStart  uint16
	ChecksumOffset uint16
}

// Frame describes a frame, or an empty buffer, in a region.
type Frame struct {
	Offset uint64 // of the region, bytes
	Length uint32 // of the frame, or of the buffer
	Offload
}

// Words of a descriptor.
const (
	wordOffset   = 0
	wordLength   = 1 // length 32, flags 8, gso 8, header bytes 16
	wordOffload  = 2 // segment bytes 16, checksum start 16, checksum offset 16, zero 16
	wordReserved = 3
)

// Encode returns the descriptor of f.
func (f *Frame) Encode() ipc.Descriptor {
	return ipc.Descriptor{
		wordOffset:  f.Offset,
		wordLength:  uint64(f.Length) | uint64(f.Flags)<<32 | uint64(f.GSO)<<40 | uint64(f.HeaderBytes)<<48,
		wordOffload: uint64(f.SegmentBytes) | uint64(f.ChecksumStart)<<16 | uint64(f.ChecksumOffset)<<32,
	}
}

// DecodeFrame returns the frame that d describes, in a region of regionBytes.
// Errors are KindDescriptor. That the offload fields fit the headers inside
// the frame is for the switch to check.
func DecodeFrame(d *ipc.Descriptor, regionBytes int) (Frame, error) {
	f, err := decode(d, regionBytes)
	if err != nil {
		return Frame{}, err
	}
	if f.Length > FrameBytesMax {
		return Frame{}, descriptorError("a frame of %d bytes, allowed are %d", f.Length, FrameBytesMax)
	}
	if err := f.checkOffload(); err != nil {
		return Frame{}, err
	}
	return f, nil
}

// DecodeBuffer returns the empty buffer that d describes. Errors are
// KindDescriptor.
func DecodeBuffer(d *ipc.Descriptor, regionBytes int) (Frame, error) {
	f, err := decode(d, regionBytes)
	if err != nil {
		return Frame{}, err
	}
	if f.Offload != (Offload{}) {
		return Frame{}, descriptorError("an empty buffer with offload fields")
	}
	if f.Length < BufferBytes {
		return Frame{}, descriptorError("an empty buffer of %d bytes, need %d", f.Length, BufferBytes)
	}
	return f, nil
}

func decode(d *ipc.Descriptor, regionBytes int) (Frame, error) {
	f := Frame{
		Offset: d[wordOffset],
		Length: uint32(d[wordLength]),
		Offload: Offload{
			Flags: Flags(d[wordLength] >> 32), GSO: GSO(d[wordLength] >> 40), HeaderBytes: uint16(d[wordLength] >> 48),
			SegmentBytes: uint16(d[wordOffload]), ChecksumStart: uint16(d[wordOffload] >> 16), ChecksumOffset: uint16(d[wordOffload] >> 32),
		},
	}
	switch {
	case d[wordOffload]>>48 != 0 || d[wordReserved] != 0:
		return Frame{}, descriptorError("reserved bits are set")
	case f.Offset > uint64(regionBytes) || uint64(f.Length) > uint64(regionBytes)-f.Offset:
		return Frame{}, descriptorError("%d bytes at %d lie outside the region of %d", f.Length, f.Offset, regionBytes)
	}
	return f, nil
}

// checkOffload checks the fields against each other and the length.
func (f *Frame) checkOffload() error {
	o := &f.Offload
	switch {
	case o.Flags >= flagsEnd || o.GSO >= gsoEnd:
		return descriptorError("unknown flags %#x or segmentation %d", uint8(o.Flags), uint8(o.GSO))
	case o.Flags&NeedsChecksum == 0:
		if *o != (Offload{}) {
			return descriptorError("offload fields without a checksum to finish")
		}
		return nil
	case o.ChecksumStart < EthernetBytes || int(o.ChecksumStart)+int(o.ChecksumOffset)+2 > min(HeadersBytesMax, int(f.Length)):
		return descriptorError("a checksum at %d+%d in a frame of %d bytes", o.ChecksumStart, o.ChecksumOffset, f.Length)
	case o.GSO == GSONone:
		if o.HeaderBytes != 0 || o.SegmentBytes != 0 {
			return descriptorError("segment sizes of a frame that is not to be cut")
		}
		return nil
	case o.HeaderBytes > HeadersBytesMax || o.HeaderBytes < o.ChecksumStart+o.ChecksumOffset+2 || uint32(o.HeaderBytes) > f.Length:
		return descriptorError("headers of %d bytes in a frame of %d", o.HeaderBytes, f.Length)
	case o.SegmentBytes < SegmentBytesMin:
		return descriptorError("segments of %d bytes, at least %d", o.SegmentBytes, SegmentBytesMin)
	}
	return nil
}

func descriptorError(format string, args ...any) error {
	return &Error{Kind: KindDescriptor, Detail: fmt.Sprintf(format, args...)}
}
