package jbd2

import (
	"fmt"

	"github.com/quintet-os/quintet/files/ext4/buffer"
)

// GetWrite announces that the handle is about to change a buffer. It must come
// before the first change in each transaction; again does no harm. If the
// committing transaction still needs the present content, that is copied first.
// The caller holds whatever lock keeps others from changing the buffer.
// Errors: *AbortError.
func (h *Handle) GetWrite(b *buffer.Buffer) error {
	j := h.journal
	if err := j.Err(); err != nil {
		return err
	}
	b.Mu.Lock()
	defer b.Mu.Unlock()
	m := j.enter(h.transaction, b)
	if m.freed {
		// Freed and used again in one transaction: it is metadata after all.
		m.freed = false
		j.mu.Lock()
		delete(h.transaction.revokes, b.Block())
		j.mu.Unlock()
	}
	return nil
}

// Create returns the buffer of a block just allocated for metadata, pinned, all
// zero, and announced as by GetWrite. Errors: *AbortError, *buffer.RangeError.
func (h *Handle) Create(block uint64) (*buffer.Buffer, error) {
	b, err := h.journal.cache.GetNew(block)
	if err != nil {
		return nil, err
	}
	h.journal.mu.Lock()
	delete(h.transaction.revokes, block)
	h.journal.mu.Unlock()
	if err := h.GetWrite(b); err != nil {
		b.Release()
		return nil, err
	}
	return b, nil
}

// enter makes the buffer a member of t, the running transaction; b.Mu is held.
func (j *Journal) enter(t *Transaction, b *buffer.Buffer) *membership {
	r := owned(b)
	if m := r.in(t); m != nil {
		return m
	}
	m := &r.current
	if r.current.transaction != nil {
		if r.current.dirty && !r.copied && r.frozen == nil {
			r.frozen = j.freeze(b.Data)
		}
		m = &r.following
	}
	*m = membership{transaction: t}
	b.Pin()
	j.mu.Lock()
	t.members = append(t.members, r)
	j.mu.Unlock()
	return m
}

// freeze copies a block.
func (j *Journal) freeze(data []byte) []byte {
	j.stats.frozen.Add(1)
	j.mu.Lock()
	var p []byte
	if n := len(j.frozen); n > 0 {
		p, j.frozen = j.frozen[n-1], j.frozen[:n-1]
	}
	j.mu.Unlock()
	if p == nil {
		p = make([]byte, len(data))
	}
	copy(p, data)
	return p
}

// frozenSpareMax bounds the blocks kept for freezing.
const frozenSpareMax = 64

func (j *Journal) thaw(p []byte) {
	j.mu.Lock()
	if len(j.frozen) < frozenSpareMax {
		j.frozen = append(j.frozen, p)
	}
	j.mu.Unlock()
}

// Dirty says that the handle has changed, or is about to change before Stop, a
// buffer announced by GetWrite or Create. The first time in a transaction it
// costs one credit. A handle without credits takes one from the transaction;
// if that has none either the journal aborts: the operation was miscounted.
// Errors: *AbortError.
func (h *Handle) Dirty(b *buffer.Buffer) error {
	b.Mu.Lock()
	m := owned(b).in(h.transaction)
	if m == nil {
		b.Mu.Unlock()
		panic(fmt.Sprintf("jbd2: block %d was changed without GetWrite", b.Block()))
	}
	first := !m.dirty
	m.dirty = true
	b.SetDirty()
	b.Mu.Unlock()
	if !first {
		return nil
	}
	if h.credits == 0 {
		if err := h.Extend(1); err != nil {
			h.err = h.journal.abort(h.transaction.sequence, fmt.Errorf("block %d: %w", b.Block(), err))
			return h.err
		}
	}
	h.credits--
	return nil
}

// Forget says that a block is metadata no longer: it has been freed. What the
// transaction changed in it is not logged, older changes are not written home
// once the transaction has committed, and it is revoked, so that no replay
// brings them back. Nothing may use the block again before the commit.
// Errors: *AbortError.
func (h *Handle) Forget(block uint64) error {
	j := h.journal
	if err := j.Err(); err != nil {
		return err
	}
	if b := j.cache.Peek(block); b != nil {
		b.Mu.Lock()
		m := j.enter(h.transaction, b)
		m.dirty, m.freed = false, true
		b.Mu.Unlock()
		b.Release()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	t := h.transaction
	if t.revokes[block] {
		return nil
	}
	if len(t.revokes)%j.layout.revokesPerBlock() == 0 {
		t.outstanding++ // the log space of another revoke block
	}
	t.revokes[block] = true
	return nil
}
