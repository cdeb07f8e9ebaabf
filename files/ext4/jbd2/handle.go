package jbd2

// Handle is one operation's part in the running transaction: between Start and
// Stop, what it changes commits together. It is used by one goroutine.
type Handle struct {
	journal     *Journal
	transaction *Transaction
	credits     int // blocks it may still change
	err         error
}

// Start opens a handle that may change up to credits blocks. It waits while the
// running transaction is being sealed or is full, while the log has no space
// for a full transaction, and once while the cache is mostly dirty; what it
// waits for it carries out itself if nobody else does. A goroutine that holds a
// handle must not start another.
// Errors: ErrTooLarge, *AbortError, ErrClosed.
func (j *Journal) Start(credits int) (*Handle, error) {
	h := &Handle{journal: j}
	if err := h.join(credits); err != nil {
		return nil, err
	}
	return h, nil
}

func (h *Handle) join(credits int) error {
	j := h.journal
	limit := j.CreditsMax()
	if credits > limit {
		return ErrTooLarge
	}
	relieved := false
	j.mu.Lock()
	for {
		if err := j.usable(); err != nil {
			j.mu.Unlock()
			return err
		}
		if j.sealing {
			j.changed.Wait()
			continue
		}
		full := j.running != nil && j.running.outstanding+credits > limit
		crowded := j.free < j.size()/transactionShare+reserveBlocks
		pressed := !relieved && j.cache.Pressure()
		if !full && !crowded && !pressed {
			break
		}
		j.mu.Unlock()
		if err := j.relieve(full, crowded, pressed); err != nil {
			return err
		}
		relieved = relieved || pressed
		j.mu.Lock()
	}
	defer j.mu.Unlock()
	if j.running == nil {
		j.running = &Transaction{sequence: j.next, revokes: make(map[uint64]bool)}
		j.next++
	}
	t := j.running
	t.handles++
	t.outstanding += credits
	h.transaction, h.credits, h.err = t, credits, nil
	if t.outstanding > limit/2 && t.outstanding-credits <= limit/2 {
		j.nudge()
	}
	return nil
}

// usable returns why no handle can be had; Journal.mu is held.
func (j *Journal) usable() error {
	if err := j.Err(); err != nil {
		return err
	}
	if j.closed {
		return ErrClosed
	}
	return nil
}

// relieve makes room for a handle: in the running transaction if that is full,
// in the log if that is crowded, in the cache if that is pressed.
func (j *Journal) relieve(full, crowded, pressed bool) error {
	if full || pressed {
		if err := j.CommitRunning(); err != nil {
			return err
		}
	}
	if !crowded && !pressed {
		return nil
	}
	j.stats.waits.Add(1)
	want := j.size() / 2
	if pressed {
		want = 0 // all of it: the log may be far larger than the cache
	}
	done, err := j.checkpoint(want)
	if err != nil || done || pressed {
		return err
	}
	// What is left belongs to the running transaction too.
	if err := j.CommitRunning(); err != nil {
		return err
	}
	_, err = j.checkpoint(want)
	return err
}

// Sequence returns the transaction's number, for Journal.Commit.
func (h *Handle) Sequence() uint32 { return h.transaction.sequence }

// Credits returns how many more blocks the handle may change.
func (h *Handle) Credits() int { return h.credits }

// Extend adds credits without leaving the transaction. It does not wait.
// Errors: ErrNoCredits when the transaction is full or being sealed; *AbortError.
func (h *Handle) Extend(credits int) error {
	j := h.journal
	if err := j.Err(); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.sealing || h.transaction.outstanding+credits > j.CreditsMax() {
		return ErrNoCredits
	}
	h.transaction.outstanding += credits
	h.credits += credits
	return nil
}

// Restart ends this part of the operation, which must leave the volume
// consistent, and begins the next with the given credits, in the same
// transaction if it still has room. It waits as Start does, and the caller must
// not hold a lock that other holders of handles may wait for. After an error
// the handle is closed. Errors: those of Start and Stop.
func (h *Handle) Restart(credits int) error {
	if err := h.Stop(); err != nil {
		return err
	}
	return h.join(credits)
}

// OnCommit has f called once the transaction is durable, on the goroutine that
// committed it and with no lock of the journal's held but the right to commit:
// f may not commit or wait for handles. If the journal aborts, f is never
// called. Allocators give freed blocks out again only from here.
func (h *Handle) OnCommit(f func()) {
	h.journal.mu.Lock()
	h.transaction.callbacks = append(h.transaction.callbacks, f)
	h.journal.mu.Unlock()
}

// AddOrdered has data written before the transaction commits; adding it again
// changes nothing.
func (h *Handle) AddOrdered(data Ordered) {
	h.journal.mu.Lock()
	defer h.journal.mu.Unlock()
	if h.transaction.ordered == nil {
		h.transaction.ordered = make(map[Ordered]bool)
	}
	h.transaction.ordered[data] = true
}

// Stop closes the handle. The changes are not durable yet: see Journal.Commit.
// Errors: *AbortError; what the operation changed is then lost with the
// transaction. Stopping twice does nothing.
func (h *Handle) Stop() error {
	if h.transaction == nil {
		return nil
	}
	j := h.journal
	j.mu.Lock()
	t := h.transaction
	t.outstanding -= h.credits
	t.handles--
	if t.handles == 0 && j.sealing {
		j.changed.Broadcast()
	}
	j.mu.Unlock()
	h.transaction, h.credits = nil, 0
	if h.err != nil {
		return h.err
	}
	return j.Err()
}
