package network

import "encoding/binary"

// FinishChecksum stores the transport checksum that the sender of frame left
// unfinished: the sum from ChecksumStart to the end, the pseudo-header's being
// there already. A UDP checksum that comes out as zero is sent as all ones (RFC 768),
// which means the same to TCP. It does nothing unless NeedsChecksum is set.
func (o *Offload) FinishChecksum(frame []byte) {
	at := int(o.ChecksumStart) + int(o.ChecksumOffset)
	if o.Flags&NeedsChecksum == 0 || at+2 > len(frame) {
		return
	}
	sum := ^Fold(Sum(0, frame[o.ChecksumStart:]))
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(frame[at:], sum)
}

// Sum adds the 16-bit words of b to a running ones' complement sum (RFC 1071).
// All pieces but the last have an even length, and together at most 16 MiB.
func Sum(sum uint64, b []byte) uint64 {
	for ; len(b) >= 4; b = b[4:] {
		sum += uint64(binary.BigEndian.Uint32(b))
	}
	if len(b) >= 2 {
		sum += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint64(b[0]) << 8
	}
	return sum
}

// Fold is the 16-bit ones' complement sum; of data together with its checksum it is
// all ones.
func Fold(sum uint64) uint16 {
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}
