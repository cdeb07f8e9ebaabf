package jbd2

import (
	"encoding/binary"
	"fmt"
)

const (
	superblockSize  = 1024
	superblockSumAt = 0xFC
	// logBlocksMin is the least length of a journal Linux accepts.
	logBlocksMin = 1024
	// fastCommitBlocksDefault is the fast-commit area's size when the superblock says 0.
	fastCommitBlocksDefault = 256
)

// Superblock is the journal's first block.
type Superblock struct {
	BlockSize        int
	Blocks           uint32 // of the journal, this one included
	First            uint32 // first block of the log
	Sequence         uint32 // first transaction expected in the log
	Start            uint32 // where it begins; 0: the log is empty
	Errno            int32  // set when the journal was aborted
	Compat           uint32
	Incompat         uint32
	ROCompat         uint32
	UUID             [16]byte
	FastCommitBlocks uint32

	raw []byte // the whole block, so that fields unknown here are kept
}

// ParseSuperblock checks the journal's first block, of which raw is a copy
// that the Superblock keeps. blocks is how many the journal file has.
// Errors: *FormatError, *ChecksumError.
func ParseSuperblock(raw []byte, blocks uint32) (*Superblock, error) {
	bad := func(format string, args ...any) error {
		return &FormatError{What: "superblock: " + fmt.Sprintf(format, args...)}
	}
	if len(raw) < superblockSize {
		return nil, bad("shorter than %d bytes", superblockSize)
	}
	get := func(at int) uint32 { return binary.BigEndian.Uint32(raw[at:]) }
	if get(0) != magic {
		return nil, bad("magic is %#x", get(0))
	}
	s := &Superblock{
		BlockSize: int(get(0x0C)), Blocks: get(0x10), First: get(0x14), Sequence: get(0x18), Start: get(0x1C),
		Errno: int32(get(0x20)), raw: raw,
	}
	switch get(4) {
	case blockSuperblockV1:
	case blockSuperblockV2:
		s.Compat, s.Incompat, s.ROCompat = get(0x24), get(0x28), get(0x2C)
		copy(s.UUID[:], raw[0x30:])
	default:
		return nil, bad("block type is %d", get(4))
	}
	v2, v3 := s.Incompat&IncompatChecksumV2 != 0, s.Incompat&IncompatChecksumV3 != 0
	switch {
	case s.Incompat&^incompatKnown != 0:
		return nil, bad("unknown incompatible features: %s", IncompatString(s.Incompat&^incompatKnown))
	case s.ROCompat != 0:
		return nil, bad("unknown read-only compatible features %#x", s.ROCompat)
	case v2 && v3, (v2 || v3) && s.Compat&CompatChecksum != 0:
		return nil, bad("more than one version of checksums is enabled")
	case (v2 || v3) && raw[0x50] != sumTypeCRC32C:
		return nil, bad("unknown checksum type %d", raw[0x50])
	}
	if (v2 || v3) && get(superblockSumAt) != sumWithout(^uint32(0), raw[:superblockSize], superblockSumAt) {
		return nil, &ChecksumError{Structure: "superblock"}
	}
	if s.Incompat&IncompatFastCommit != 0 {
		if s.FastCommitBlocks = get(0x54); s.FastCommitBlocks == 0 {
			s.FastCommitBlocks = fastCommitBlocksDefault
		}
	}
	switch {
	case s.BlockSize != len(raw):
		return nil, bad("block size is %d, the file system's is %d", s.BlockSize, len(raw))
	case s.Blocks > blocks:
		return nil, bad("journal of %d blocks in a file of %d", s.Blocks, blocks)
	case s.Blocks < logBlocksMin || s.FastCommitBlocks > s.Blocks-logBlocksMin:
		return nil, bad("log of %d blocks, %d of them for fast commits, is too short", s.Blocks, s.FastCommitBlocks)
	case s.First == 0 || s.First >= s.end():
		return nil, bad("first block %d of the log is not in it", s.First)
	case s.Start != 0 && (s.Start < s.First || s.Start >= s.end()):
		return nil, bad("start %d of the log is not in it", s.Start)
	}
	return s, nil
}

// end is one past the last block of the log proper.
func (s *Superblock) end() uint32 { return s.Blocks - s.FastCommitBlocks }

// Dirty reports whether the log holds transactions to replay.
func (s *Superblock) Dirty() bool { return s.Start != 0 }

// empty marks the log as holding nothing. The next transaction gets a number beyond end,
// the first not replayed: remains of that one may be in the log, and must not pass for a
// new transaction of the same number.
func (s *Superblock) empty(end uint32) { s.Start, s.Sequence = 0, end+1 }

// marshal returns the block with the present field values and its checksum.
func (s *Superblock) marshal() []byte {
	put := func(at int, v uint32) { binary.BigEndian.PutUint32(s.raw[at:], v) }
	put(4, blockSuperblockV2)
	put(0x18, s.Sequence)
	put(0x1C, s.Start)
	put(0x20, uint32(s.Errno))
	put(0x24, s.Compat)
	put(0x28, s.Incompat)
	put(0x2C, s.ROCompat)
	copy(s.raw[0x30:], s.UUID[:])
	if s.Incompat&(IncompatChecksumV2|IncompatChecksumV3) != 0 {
		s.raw[0x50] = sumTypeCRC32C
		put(superblockSumAt, sumWithout(^uint32(0), s.raw[:superblockSize], superblockSumAt))
	}
	return s.raw
}

// NewSuperblock returns the first block of an empty journal: what making a file
// system writes at the start of the journal file, whose other blocks may hold
// anything that is not an old log (zeroes, by custom).
func NewSuperblock(blockSize int, blocks uint32, uuid [16]byte) []byte {
	s := &Superblock{raw: make([]byte, blockSize)}
	putHeader(s.raw, blockSuperblockV2, 0)
	binary.BigEndian.PutUint32(s.raw[0x0C:], uint32(blockSize))
	binary.BigEndian.PutUint32(s.raw[0x10:], blocks)
	binary.BigEndian.PutUint32(s.raw[0x14:], 1)
	binary.BigEndian.PutUint32(s.raw[0x40:], 1) // users
	s.Sequence = 1
	s.UUID = uuid
	return s.marshal()
}
