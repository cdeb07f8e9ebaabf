package jbd2

import "encoding/binary"

// walker reads the log from its tail, block by block, as recovery does.
type walker struct {
	window
	sb       *Superblock
	layout   layout
	next     uint32 // next block to read
	sequence uint32 // transaction expected there
	steps    uint32 // blocks consumed, never more than the log has
	scratch  []byte
}

func newWalker(log *Log, sb *Superblock) *walker {
	return &walker{
		window:   window{log: log, end: sb.end()},
		sb:       sb,
		layout:   sb.layout(),
		next:     sb.Start,
		sequence: sb.Sequence,
		scratch:  make([]byte, log.BlockSize),
	}
}

// take returns the next block of the log and its position. ok is false when the
// log has been gone round once: a log that size has no end.
func (w *walker) take() (p []byte, at uint32, ok bool, err error) {
	if !w.skip(1) {
		return nil, 0, false, nil
	}
	at = w.next - 1
	if at < w.sb.First {
		at = w.end - 1
	}
	p, err = w.block(at)
	return p, at, true, err
}

// skip passes over n blocks; false if that would go round the whole log.
func (w *walker) skip(n uint32) bool {
	size := w.end - w.sb.First
	if n > size-w.steps {
		return false
	}
	w.steps += n
	w.next += n
	if w.next >= w.end {
		w.next -= size
	}
	return true
}

// control returns the next block if it is a descriptor, commit or revoke block
// of the expected transaction, copied so that reading on does not change it.
// kind is 0 at the end of the log.
func (w *walker) control() (p []byte, kind, at uint32, err error) {
	p, at, ok, err := w.take()
	if err != nil || !ok || binary.BigEndian.Uint32(p) != magic || binary.BigEndian.Uint32(p[8:]) != w.sequence {
		return nil, 0, at, err
	}
	copy(w.scratch, p)
	return w.scratch, binary.BigEndian.Uint32(p[4:]), at, nil
}

// tags calls f for every tag of a descriptor block, until f returns false.
func (l *layout) tags(p []byte, f func(tag) bool) {
	for at := headerSize; at+l.tagSize <= l.blockSize-l.tail; {
		t := l.getTag(p[at:])
		if !f(t) || t.flags&tagLast != 0 {
			return
		}
		at += l.tagSize
		if t.flags&tagSameUUID == 0 {
			at += uuidSize
		}
	}
}

// countTags is the number of data blocks that follow a descriptor block.
func (l *layout) countTags(p []byte) (n uint32) {
	l.tags(p, func(tag) bool { n++; return true })
	return n
}
