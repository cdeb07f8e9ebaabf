package jbd2

import (
	"encoding/binary"
	"strings"
)

// The on-disk format: big-endian throughout, and the same in Linux
// (include/linux/jbd2.h) and e2fsprogs (lib/ext2fs/kernel-jbd.h).

const (
	magic      = 0xC03B3998
	headerSize = 12 // magic, block type, sequence

	blockDescriptor   = 1
	blockCommit       = 2
	blockSuperblockV1 = 3
	blockSuperblockV2 = 4
	blockRevoke       = 5

	revokeHeaderSize = headerSize + 4 // and the bytes used in the block, this header included
	tailSize         = 4              // checksum at the end of descriptor and revoke blocks (v2, v3)
	uuidSize         = 16             // follows a tag that does not say tagSameUUID

	commitTypeAt  = 12 // checksum v1: the kind of checksum
	commitSizeAt  = 13 // checksum v1: its size in bytes
	commitSumAt   = 16
	commitSecAt   = 48
	commitNsecAt  = 56
	sumTypeCRC32  = 1
	sumTypeCRC32C = 4

	tagEscaped  = 1 // the block began with magic, which is replaced by zeroes in the log
	tagSameUUID = 2
	tagLast     = 8
)

// Features of a journal; an unknown incompatible one is refused.
const (
	CompatChecksum      = 0x1 // v1: the commit block sums up the whole transaction
	IncompatRevoke      = 0x1
	Incompat64Bit       = 0x2 // block numbers of 64 bits
	IncompatAsyncCommit = 0x4 // commit blocks were not ordered after their transaction
	IncompatChecksumV2  = 0x8
	IncompatChecksumV3  = 0x10
	IncompatFastCommit  = 0x20

	incompatKnown = IncompatRevoke | Incompat64Bit | IncompatAsyncCommit | IncompatChecksumV2 |
		IncompatChecksumV3 | IncompatFastCommit
)

var incompatNames = [...]string{"revoke", "64bit", "async_commit", "checksum_v2", "checksum_v3", "fast_commit"}

// IncompatString names the bits of an incompatible feature word.
func IncompatString(features uint32) string {
	var names []string
	for bit := range 32 {
		if features&(1<<bit) == 0 {
			continue
		}
		if bit < len(incompatNames) {
			names = append(names, incompatNames[bit])
		} else {
			names = append(names, "unknown bit "+string(rune('0'+bit/10))+string(rune('0'+bit%10)))
		}
	}
	return strings.Join(names, ",")
}

// layout is what the features decide about descriptor and revoke blocks.
type layout struct {
	blockSize int
	tagSize   int // bytes of a tag without its UUID
	tail      int // bytes at the end of a block that hold its checksum
	wide      bool
	v2, v3    bool
	seed      uint32
}

func (s *Superblock) layout() layout {
	l := layout{
		blockSize: s.BlockSize,
		wide:      s.Incompat&Incompat64Bit != 0,
		v2:        s.Incompat&IncompatChecksumV2 != 0,
		v3:        s.Incompat&IncompatChecksumV3 != 0,
	}
	if l.v2 || l.v3 {
		l.tail = tailSize
		l.seed = crc32c(^uint32(0), s.UUID[:])
	}
	switch {
	case l.v3:
		l.tagSize = 16
	case l.v2:
		l.tagSize = 10
	default:
		l.tagSize = 8
	}
	if l.wide && !l.v3 {
		l.tagSize += 4
	}
	return l
}

// summed reports whether blocks carry checksums of version 2 or 3.
func (l *layout) summed() bool { return l.tail != 0 }

// tagsPerBlock is how many tags a descriptor block holds when, as the kernel
// writes it, only the first carries a UUID.
func (l *layout) tagsPerBlock() int {
	return (l.blockSize - headerSize - uuidSize - l.tail) / l.tagSize
}

// recordSize is the size of one block number in a revoke block, in bytes.
func (l *layout) recordSize() int {
	if l.wide {
		return 8
	}
	return 4
}

// revokesPerBlock is how many block numbers a revoke block holds.
func (l *layout) revokesPerBlock() int {
	return (l.blockSize - revokeHeaderSize - l.tail) / l.recordSize()
}

// tag describes one block of a transaction.
type tag struct {
	block uint64
	flags uint32
	sum   uint32 // v3: crc32c; v2: its low 16 bits
}

func (l *layout) getTag(p []byte) tag {
	t := tag{block: uint64(binary.BigEndian.Uint32(p))}
	if l.v3 {
		t.flags = binary.BigEndian.Uint32(p[4:])
		t.sum = binary.BigEndian.Uint32(p[12:])
	} else {
		t.sum = uint32(binary.BigEndian.Uint16(p[4:]))
		t.flags = uint32(binary.BigEndian.Uint16(p[6:]))
	}
	if l.wide {
		t.block |= uint64(binary.BigEndian.Uint32(p[8:])) << 32
	}
	return t
}

func (l *layout) putTag(p []byte, t tag) {
	binary.BigEndian.PutUint32(p, uint32(t.block))
	if l.v3 {
		binary.BigEndian.PutUint32(p[4:], t.flags)
		binary.BigEndian.PutUint32(p[8:], uint32(t.block>>32))
		binary.BigEndian.PutUint32(p[12:], t.sum)
		return
	}
	binary.BigEndian.PutUint16(p[4:], uint16(t.sum))
	binary.BigEndian.PutUint16(p[6:], uint16(t.flags))
	if l.wide {
		binary.BigEndian.PutUint32(p[8:], uint32(t.block>>32))
	}
	if l.v2 {
		binary.BigEndian.PutUint16(p[l.tagSize-2:], 0)
	}
}

func putHeader(p []byte, kind, sequence uint32) {
	binary.BigEndian.PutUint32(p, magic)
	binary.BigEndian.PutUint32(p[4:], kind)
	binary.BigEndian.PutUint32(p[8:], sequence)
}

// after reports whether sequence a comes after b, counting modulo 2^32.
func after(a, b uint32) bool { return int32(a-b) > 0 }
