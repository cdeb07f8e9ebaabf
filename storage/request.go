package storage

import (
	"fmt"

	"github.com/quintet-os/quintet/ipc"
)

// Op is an operation on a volume. The numbers travel on the wire.
type Op uint8

const (
	// OpInfo asks for size, block size and rights.
	OpInfo Op = 1 + iota
	OpRead
	OpWrite
	OpFlush
	OpDiscard
	OpWriteZeroes
	opEnd
)

var opNames = [opEnd]string{"?", "info", "read", "write", "flush", "discard", "write-zeroes"}

// String returns the operation's name.
func (o Op) String() string {
	if o < opEnd {
		return opNames[o]
	}
	return fmt.Sprintf("operation %d", uint8(o))
}

// Changes reports whether the operation changes the volume's contents.
func (o Op) Changes() bool { return o == OpWrite || o == OpDiscard || o == OpWriteZeroes }

// Transfers reports whether the operation moves data through a region.
func (o Op) Transfers() bool { return o == OpRead || o == OpWrite }

// Ranged reports whether the operation names a range of the volume.
func (o Op) Ranged() bool { return o.Transfers() || o.Changes() }

// Flags modify an operation.
type Flags uint8

// FlagFUA: the data is durable before the reply. For writes and write-zeroes.
const FlagFUA Flags = 1

// Request is one operation on a volume.
//
// Its wire form is seven 64-bit words, in the machine's byte order:
//
//	word 0   bits 0-7 Op, 8-15 Flags, 16-31 zero, 32-63 Volume
//	word 1   Region
//	word 2   RegionOffset
//	word 3   Length
//	word 4   Offset
//	words 5-6 zero
type Request struct {
	Op           Op
	Flags        Flags
	Volume       int   // handle, as the session was told
	Region       int   // identity of the granted memory; reads and writes only
	RegionOffset int64 // bytes
	Length       int64 // bytes
	Offset       int64 // of the volume, bytes
}

// Encode returns the wire form.
func (r *Request) Encode() [7]uint64 {
	return [7]uint64{
		uint64(r.Op) | uint64(r.Flags)<<8 | uint64(r.Volume)<<32,
		uint64(r.Region), uint64(r.RegionOffset), uint64(r.Length), uint64(r.Offset),
	}
}

// DecodeRequest reads the wire form. Every field of the result lies within the
// limits of this package and is never negative; whether it fits the volume and
// the region is for Check. It fails with KindMalformed, and with KindBounds for
// offsets no volume or region can have.
func DecodeRequest(words *[7]uint64) (Request, Kind) {
	const offsetMax = 1<<63 - 1 - RangeMax
	head := words[0]
	r := Request{Op: Op(head), Flags: Flags(head >> 8)}
	volume := head >> 32
	switch {
	case r.Op == 0 || r.Op >= opEnd, head>>16&0xffff != 0, words[5]|words[6] != 0,
		volume >= VolumesMax, words[1] >= ipc.RegionsMax, words[3] > RangeMax:
		return Request{}, KindMalformed
	case words[2] > offsetMax, words[4] > offsetMax:
		return Request{}, KindBounds
	}
	r.Volume, r.Region = int(volume), int(words[1])
	r.RegionOffset, r.Length, r.Offset = int64(words[2]), int64(words[3]), int64(words[4])
	return r, r.form()
}

// form checks what depends on the operation alone.
func (r *Request) form() Kind {
	if r.Flags&^FlagFUA != 0 || r.Flags != 0 && r.Op != OpWrite && r.Op != OpWriteZeroes {
		return KindMalformed
	}
	if !r.Op.Transfers() && (r.Region != 0 || r.RegionOffset != 0) {
		return KindMalformed
	}
	if !r.Op.Ranged() && (r.Length != 0 || r.Offset != 0) {
		return KindMalformed
	}
	if r.Op.Transfers() && r.Length > TransferMax {
		return KindMalformed
	}
	return KindOK
}

// Check compares a decoded request with the volume. A request of length zero is
// well formed and does nothing.
func (r *Request) Check(info *Info) Kind {
	block := int64(info.BlockSize)
	switch {
	case r.Op.Changes() && !info.Writable:
		return KindPermission
	case !r.Op.Ranged():
		return KindOK
	case r.Offset%block != 0 || r.Length%block != 0:
		return KindAlignment
	case r.Offset > info.Size || r.Length > info.Size-r.Offset:
		return KindBounds
	}
	return KindOK
}

// CheckRegion compares the memory a decoded request names with a region of size
// bytes, which the server may write if writable. The start must be aligned to
// align bytes.
func (r *Request) CheckRegion(size int64, writable bool, align int) Kind {
	switch {
	case r.Op == OpRead && !writable:
		return KindPermission
	case r.RegionOffset%int64(align) != 0:
		return KindAlignment
	case r.RegionOffset > size || r.Length > size-r.RegionOffset:
		return KindBounds
	}
	return KindOK
}
