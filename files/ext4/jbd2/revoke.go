package jbd2

import "encoding/binary"

// revokeTable maps a block to the latest transaction that revoked it: no copy
// of the block in that transaction or an earlier one may be replayed.
type revokeTable map[uint64]uint32

func (t revokeTable) add(block uint64, sequence uint32) {
	if old, ok := t[block]; !ok || after(sequence, old) {
		t[block] = sequence
	}
}

func (t revokeTable) revoked(block uint64, sequence uint32) bool {
	latest, ok := t[block]
	return ok && !after(sequence, latest)
}

// addBlock takes in a revoke block of the log. False: its length is impossible.
func (t revokeTable) addBlock(l *layout, p []byte, sequence uint32) (records int, ok bool) {
	ok = l.revokes(p, func(block uint64) {
		t.add(block, sequence)
		records++
	})
	return records, ok
}

// revokes calls f for every record of a revoke block. False: its length is impossible.
func (l *layout) revokes(p []byte, f func(block uint64)) bool {
	used := binary.BigEndian.Uint32(p[headerSize:])
	if used > uint32(l.blockSize-l.tail) {
		return false
	}
	size := l.recordSize()
	for at := revokeHeaderSize; at+size <= int(used); at += size {
		block := uint64(binary.BigEndian.Uint32(p[at:]))
		if size == 8 {
			block = binary.BigEndian.Uint64(p[at:])
		}
		f(block)
	}
	return true
}

// putRevokes makes a revoke block, in a block of zeroes, of as many blocks as it
// holds at most.
func putRevokes(l *layout, p []byte, sequence uint32, blocks []uint64) {
	putHeader(p, blockRevoke, sequence)
	at := revokeHeaderSize
	for _, block := range blocks {
		if l.wide {
			binary.BigEndian.PutUint64(p[at:], block)
		} else {
			binary.BigEndian.PutUint32(p[at:], uint32(block))
		}
		at += l.recordSize()
	}
	binary.BigEndian.PutUint32(p[headerSize:], uint32(at))
	l.putTail(p)
}
