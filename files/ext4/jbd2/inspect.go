package jbd2

import (
	"encoding/binary"
	"time"
)

// Entry is one control block of the log, as Inspect reports it.
type Entry struct {
	Block       uint32 // of the log
	Transaction uint32
	Kind        Kind
	Valid       bool     // its own checksum matches, or it has none
	Blocks      []Logged // of a descriptor block
	Revoked     []uint64 // of a revoke block: blocks of the volume
	Time        time.Time
}

// Logged is one block of a transaction.
type Logged struct {
	Home    uint64 // block of the volume
	Block   uint32 // of the log
	Escaped bool
	Valid   bool // its checksum matches, or it has none
}

// Kind is the kind of a control block.
type Kind uint32

// Kinds of control blocks.
const (
	KindDescriptor Kind = blockDescriptor
	KindCommit     Kind = blockCommit
	KindRevoke     Kind = blockRevoke
)

// String names the kind.
func (k Kind) String() string {
	switch k {
	case KindDescriptor:
		return "descriptor"
	case KindCommit:
		return "commit"
	case KindRevoke:
		return "revoke"
	}
	return "unknown"
}

// Inspect reports the control blocks of a log from its tail to where it ends,
// which may be beyond the last committed transaction, until f returns false.
// It changes nothing. An empty log has no entries.
// Errors: those of Log.Load; *FormatError; *buffer.IOError.
func Inspect(log *Log, f func(Entry) bool) error {
	sb, err := log.Load()
	if err != nil || !sb.Dirty() {
		return err
	}
	w := newWalker(log, sb)
	for {
		p, kind, at, err := w.control()
		if err != nil || kind == 0 {
			return err
		}
		e := Entry{Block: at, Transaction: w.sequence, Kind: Kind(kind), Valid: true}
		switch e.Kind {
		case KindDescriptor:
			e.Valid = w.layout.tailValid(p)
			e.Blocks, err = w.logged(p)
		case KindRevoke:
			e.Valid = w.layout.tailValid(p)
			w.layout.revokes(p, func(block uint64) { e.Revoked = append(e.Revoked, block) })
		case KindCommit:
			e.Valid = w.layout.commitValid(p)
			e.Time = time.Unix(int64(binary.BigEndian.Uint64(p[commitSecAt:])), int64(binary.BigEndian.Uint32(p[commitNsecAt:])))
			w.sequence++
		default:
			return nil
		}
		if err != nil || !f(e) {
			return err
		}
	}
}

// logged reads past the data blocks of a descriptor block.
func (w *walker) logged(descriptor []byte) (blocks []Logged, err error) {
	w.layout.tags(descriptor, func(t tag) bool {
		data, at, ok, e := w.take()
		if e != nil || !ok {
			if err = e; err == nil {
				err = &FormatError{Block: w.next, What: "transaction is longer than the log"}
			}
			return false
		}
		valid := !w.layout.summed() || t.sum == w.layout.dataSum(w.sequence, data)
		blocks = append(blocks, Logged{Home: t.block, Block: at, Escaped: t.flags&tagEscaped != 0, Valid: valid})
		return true
	})
	return blocks, err
}
