package jbd2

import "encoding/binary"

// group is a descriptor block being filled, for the data blocks that follow it.
type group struct {
	descriptor []byte // nil: not begun
	tags       int
	at         int // where the last tag begins
	last       tag // not in the descriptor yet: only the last of all is marked so
}

// open begins a group in a block of zeroes.
func (g *group) open(p []byte, sequence uint32) {
	putHeader(p, blockDescriptor, sequence)
	*g = group{descriptor: p}
}

// add describes one block, given its content in the log, which is changed if it
// could be taken for a block of the log's own.
func (g *group) add(l *layout, sequence uint32, block uint64, p []byte) {
	t := tag{block: block}
	if binary.BigEndian.Uint32(p) == magic {
		clear(p[:4])
		t.flags |= tagEscaped
	}
	t.sum = l.dataSum(sequence, p)
	switch g.tags {
	case 0:
		g.at = headerSize
	case 1:
		l.putTag(g.descriptor[g.at:], g.last)
		g.at += l.tagSize + uuidSize
		t.flags |= tagSameUUID
	default:
		l.putTag(g.descriptor[g.at:], g.last)
		g.at += l.tagSize
		t.flags |= tagSameUUID
	}
	g.last = t
	g.tags++
}

// close completes the descriptor block. The first tag is followed by the
// journal's UUID; the others refer to it.
func (g *group) close(l *layout, uuid [16]byte) {
	g.last.flags |= tagLast
	l.putTag(g.descriptor[g.at:], g.last)
	copy(g.descriptor[headerSize+l.tagSize:], uuid[:])
	l.putTail(g.descriptor)
	*g = group{}
}
