package jbd2

import (
	"encoding/binary"
	"time"
)

// RecordKind says what a block of the log is for.
type RecordKind string

// Kinds of records.
const (
	RecordDescriptor RecordKind = "descriptor" // names the blocks whose new content follows it
	RecordRevoke     RecordKind = "revoke"     // names blocks that older transactions must not bring back
	RecordCommit     RecordKind = "commit"     // ends a transaction
)

// Record is one control block of the log.
type Record struct {
	Kind     RecordKind
	Sequence uint32    // of its transaction
	At       uint32    // block of the log
	Blocks   []uint64  // of the volume, for descriptors and revokes
	Time     time.Time // of commits
	// Replayed says that the transaction is complete, so that recovery applies
	// it. An incomplete one is what was being committed when the log stopped.
	Replayed bool
}

// Records passes the control blocks that lie in a log which has not been
// emptied, oldest first, to yield until it returns false. Nothing is changed.
// Errors: those of Load, and *buffer.IOError. A transaction whose checksum
// fails ends the log here, as it does for recovery.
func (g *Log) Records(yield func(Record) bool) error {
	sb, err := g.Load()
	if err != nil || !sb.Dirty() {
		return err
	}
	end, damage := findEnd(g, sb)
	for w := newWalker(g, sb); ; {
		p, kind, at, err := w.control()
		if err != nil {
			return err
		}
		r := Record{Sequence: w.sequence, At: at, Replayed: after(end, w.sequence)}
		switch kind {
		case blockDescriptor:
			r.Kind = RecordDescriptor
			w.layout.tags(p, func(t tag) bool { r.Blocks = append(r.Blocks, t.block); return true })
			if !w.skip(uint32(len(r.Blocks))) {
				return damage
			}
		case blockRevoke:
			r.Kind = RecordRevoke
			w.layout.revokes(p, func(block uint64) { r.Blocks = append(r.Blocks, block) })
		case blockCommit:
			r.Kind = RecordCommit
			r.Time = time.Unix(int64(binary.BigEndian.Uint64(p[commitSecAt:])), int64(binary.BigEndian.Uint32(p[commitNsecAt:])))
			w.sequence++
		default:
			return damage
		}
		if !yield(r) {
			return damage
		}
	}
}
