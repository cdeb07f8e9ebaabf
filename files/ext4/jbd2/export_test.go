package jbd2

import "encoding/binary"

// Reseal makes the checksum of a block of the log right, whatever its kind.
func Reseal(p []byte, uuid [16]byte) {
	l := layout{blockSize: len(p), tail: tailSize, v3: true, seed: crc32c(^uint32(0), uuid[:])}
	switch binary.BigEndian.Uint32(p[4:]) {
	case blockDescriptor, blockRevoke:
		l.putTail(p)
	case blockCommit:
		binary.BigEndian.PutUint32(p[commitSumAt:], sumWithout(l.seed, p, commitSumAt))
	case blockSuperblockV1, blockSuperblockV2:
		binary.BigEndian.PutUint32(p[superblockSumAt:], sumWithout(^uint32(0), p[:superblockSize], superblockSumAt))
	}
}
