package jbd2

import (
	"fmt"

	"github.com/quintet-os/quintet/files/ext4/buffer"
)

// Run is a stretch of adjacent blocks of the volume that holds consecutive
// blocks of the journal file.
type Run struct {
	Start uint64 // block of the volume
	Count uint32
}

// Log is where the journal lies: the device and, in order, the blocks of the
// journal file (inode 8's extents, as a rule).
type Log struct {
	Device    buffer.Device
	BlockSize int // bytes
	Runs      []Run
}

// Blocks returns the length of the journal file.
func (g *Log) Blocks() uint32 {
	var n uint32
	for _, r := range g.Runs {
		n += r.Count
	}
	return n
}

// locate returns where a block of the log lies on the volume, and how many
// blocks follow it there, itself included.
func (g *Log) locate(block uint32) (at uint64, adjacent uint32, err error) {
	rest := block
	for _, r := range g.Runs {
		if rest < r.Count {
			return r.Start + uint64(rest), r.Count - rest, nil
		}
		rest -= r.Count
	}
	return 0, 0, &FormatError{Block: block, What: fmt.Sprintf("is beyond the journal file's %d blocks", g.Blocks())}
}

// read fills p with consecutive blocks of the log.
func (g *Log) read(block uint32, p []byte) error {
	return g.transfer("read", g.Device.ReadAt, block, p)
}

// write writes consecutive blocks of the log.
func (g *Log) write(block uint32, p []byte) error {
	return g.transfer("write", g.Device.WriteAt, block, p)
}

func (g *Log) transfer(op string, do func([]byte, int64) (int, error), block uint32, p []byte) error {
	for len(p) > 0 {
		at, adjacent, err := g.locate(block)
		if err != nil {
			return err
		}
		n := min(len(p), int(adjacent)*g.BlockSize)
		if _, err := do(p[:n], int64(at)*int64(g.BlockSize)); err != nil {
			return &buffer.IOError{Op: op, Block: at, Err: err}
		}
		p = p[n:]
		block += uint32(n / g.BlockSize)
	}
	return nil
}

func (g *Log) flush() error {
	if err := g.Device.Flush(); err != nil {
		return &buffer.IOError{Op: "flush", Err: err}
	}
	return nil
}

// Load reads and checks the journal's superblock. Errors: *FormatError,
// *ChecksumError, *buffer.IOError.
func (g *Log) Load() (*Superblock, error) {
	raw := make([]byte, g.BlockSize)
	if err := g.read(0, raw); err != nil {
		return nil, err
	}
	return ParseSuperblock(raw, g.Blocks())
}

// window reads the log in order, several blocks at a time.
type window struct {
	log   *Log
	end   uint32 // one past the log's last block
	first uint32 // block at the front of data
	data  []byte
}

// windowBlocks is how many blocks are read ahead.
const windowBlocks = 64

// block returns a block of the log, valid until the next call.
func (w *window) block(block uint32) ([]byte, error) {
	size := w.log.BlockSize
	if block < w.first || block >= w.first+uint32(len(w.data)/size) {
		n := int(min(w.end-block, windowBlocks))
		if cap(w.data) < n*size {
			w.data = make([]byte, windowBlocks*size)
		}
		w.data = w.data[:n*size]
		w.first = block
		if err := w.log.read(block, w.data); err != nil {
			w.data = w.data[:0]
			return nil, err
		}
	}
	at := int(block-w.first) * size
	return w.data[at : at+size], nil
}
