package jbd2

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/quintet-os/quintet/files/ext4/buffer"
)

// Fast commits are the file system's: this package knows where they lie and which
// transaction they follow, and puts an ordinary one in their place. It writes none.

// fastCommitHead is the tag that begins a fast commit; it is little-endian,
// unlike all the rest: tag, length, features, transaction.
const fastCommitHead = 9

// fastCommits reports whether the area of fast commits continues the log.
func (r *replay) fastCommits(end uint32) (bool, error) {
	p, err := r.log.FastBlock(r.sb, 0)
	return p != nil && binary.LittleEndian.Uint16(p) == fastCommitHead && binary.LittleEndian.Uint32(p[8:]) == end, err
}

// FastBlock returns block n of the area of fast commits, nil beyond its end. Errors:
// *FormatError, *buffer.IOError.
func (g *Log) FastBlock(sb *Superblock, n uint32) ([]byte, error) {
	// The area begins one block after the log's end; the block between is unused.
	if sb.FastCommitBlocks < 2 || n >= sb.FastCommitBlocks-1 {
		return nil, nil
	}
	p := make([]byte, g.BlockSize)
	return p, g.read(sb.end()+1+n, p)
}

// Supersede puts blocks of the volume, in their new state, in the place of the fast commits
// that Replay has left: as the transaction they followed on, so that after a crash either
// is in force, and then at home. The log is empty then. What does not fit the log is written
// home only, as Linux does with all; a crash within that leaves the volume to e2fsck.
// Errors: *FormatError, *ChecksumError, *buffer.IOError.
func Supersede(log *Log, blocks map[uint64][]byte) error {
	sb, err := log.Load()
	if err != nil {
		return err
	}
	if !sb.Dirty() {
		return &FormatError{What: "the log holds no fast commits"}
	}
	end := sb.Sequence
	homes := slices.SortedFunc(maps.Keys(blocks), cmp.Compare[uint64])
	l := sb.layout()
	groups := (len(homes) + l.tagsPerBlock() - 1) / l.tagsPerBlock()
	if len(homes) > 0 && len(homes)+groups+1 <= int(sb.end()-sb.First) {
		if err := logOnce(log, sb, homes, blocks); err != nil {
			return err
		}
		end++
	}
	for _, home := range homes {
		if _, err := log.Device.WriteAt(blocks[home], int64(home)*int64(log.BlockSize)); err != nil {
			return &buffer.IOError{Op: "write", Block: home, Err: err}
		}
	}
	if err := log.flush(); err != nil {
		return err
	}
	sb.empty(end)
	if err := log.write(0, sb.marshal()); err != nil {
		return err
	}
	return log.flush()
}

// logOnce writes a transaction at the front of a log that holds none, and makes it durable.
func logOnce(log *Log, sb *Superblock, homes []uint64, blocks map[uint64][]byte) error {
	l, at := sb.layout(), sb.First
	next := func(p []byte) error {
		err := log.write(at, p)
		at++
		return err
	}
	for chunk := range slices.Chunk(homes, l.tagsPerBlock()) {
		descriptor := make([]byte, log.BlockSize)
		var g group
		g.open(descriptor, sb.Sequence)
		first := at
		at++
		for _, home := range chunk {
			p := slices.Clone(blocks[home])
			g.add(&l, sb.Sequence, home, p)
			if err := next(p); err != nil {
				return err
			}
		}
		g.close(&l, sb.UUID)
		if err := log.write(first, descriptor); err != nil {
			return err
		}
	}
	if err := log.flush(); err != nil {
		return err
	}
	p := make([]byte, log.BlockSize)
	putHeader(p, blockCommit, sb.Sequence)
	if l.summed() {
		binary.BigEndian.PutUint32(p[commitSumAt:], sumWithout(l.seed, p, commitSumAt))
	}
	if err := next(p); err != nil {
		return err
	}
	return log.flush()
}
