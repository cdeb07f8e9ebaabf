package jbd2

import "github.com/quintet-os/quintet/files/ext4/buffer"

// Transaction is a set of changes that reach the volume together.
type Transaction struct {
	sequence uint32

	// Until it is sealed, guarded by Journal.mu; then by Journal.commitMu.
	handles     int              // open
	outstanding int              // credits in use or promised, and revoke blocks
	members     []*record        // blocks it has access to
	revokes     map[uint64]bool  // blocks
	ordered     map[Ordered]bool // data to write before the commit
	callbacks   []func()

	// From sealing on; guarded by Journal.mu.
	start, blocks uint32 // its place in the log
	durable       bool

	// Blocks to be written home before its log space is free; guarded by Journal.mu.
	pending      *record
	pendingCount int
}

// Ordered is data that must be on the device before the metadata that refers
// to it: delayed writes of a file, as a rule. WriteOrdered is called during the
// commit, after the transaction is sealed; it may not start handles. An error
// aborts the journal, since committing would expose what the blocks held before.
type Ordered interface {
	WriteOrdered() error
}

func (t *Transaction) empty() bool {
	return len(t.members) == 0 && len(t.revokes) == 0 && len(t.ordered) == 0 && len(t.callbacks) == 0
}

// record is the journal's part of a buffer, kept in Buffer.Owner.
type record struct {
	buffer *buffer.Buffer

	// Guarded by buffer.Mu.
	current   membership // in the running or the committing transaction
	following membership // in the running one, while current is the committing one
	frozen    []byte     // content for current, when following has its own
	copied    bool       // current's content has been copied to the log

	// The checkpoint list it is on; guarded by Journal.mu.
	checkpoint *Transaction
	prev, succ *record
}

// membership of a buffer in one transaction.
type membership struct {
	transaction *Transaction // nil: none
	dirty       bool         // changed, to be logged
	freed       bool         // no longer metadata: not to be logged, nor written home
}

// owned returns the journal's record of a buffer; buffer.Mu is held.
func owned(b *buffer.Buffer) *record {
	if r, ok := b.Owner.(*record); ok {
		return r
	}
	r := &record{buffer: b}
	b.Owner = r
	return r
}

// in returns the record's membership in t, nil if it has none.
func (r *record) in(t *Transaction) *membership {
	switch t {
	case r.current.transaction:
		return &r.current
	case r.following.transaction:
		return &r.following
	}
	return nil
}

// enlist puts a record on the transaction's checkpoint list, taking it off the
// list of an older one. Journal.mu is held.
func (t *Transaction) enlist(r *record) {
	r.delist()
	r.checkpoint = t
	r.prev, r.succ = nil, t.pending
	if t.pending != nil {
		t.pending.prev = r
	}
	t.pending = r
	t.pendingCount++
}

// delist takes a record off its checkpoint list, if it is on one. Journal.mu is held.
func (r *record) delist() {
	t := r.checkpoint
	if t == nil {
		return
	}
	if r.prev != nil {
		r.prev.succ = r.succ
	} else {
		t.pending = r.succ
	}
	if r.succ != nil {
		r.succ.prev = r.prev
	}
	r.checkpoint, r.prev, r.succ = nil, nil, nil
	t.pendingCount--
}
