package jbd2

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// Commit returns once the transaction of that number is durable; it may be long
// since. Of several callers one commits, for all. The caller holds no handle.
// Errors: *AbortError.
func (j *Journal) Commit(sequence uint32) error {
	j.mu.Lock()
	durable := !after(sequence, j.committed)
	j.mu.Unlock()
	if durable {
		return nil
	}
	j.commitMu.Lock()
	defer j.commitMu.Unlock()
	if err := j.Err(); err != nil {
		return err
	}
	j.mu.Lock()
	if j.running == nil || after(j.running.sequence, sequence) {
		j.mu.Unlock()
		return nil
	}
	t := j.seal()
	if t == nil {
		return j.Err()
	}
	if err := j.commit(t); err != nil {
		return j.abort(t.sequence, err)
	}
	return nil
}

// CommitRunning makes everything done so far durable: sync(2). The caller holds
// no handle. Errors: *AbortError.
func (j *Journal) CommitRunning() error {
	if err := j.Commit(j.Latest()); err != nil {
		return err
	}
	return j.Err()
}

// Latest returns the number of the last transaction that has begun: whatever
// has been changed, that or an earlier one has changed it.
func (j *Journal) Latest() uint32 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.next - 1
}

// Running returns the number of the transaction that is running or will be
// next: changes made before the call are durable after Commit of it.
func (j *Journal) Running() uint32 {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.running != nil {
		return j.running.sequence
	}
	return j.next
}

// Committed reports whether a transaction is durable. One that an earlier journal on
// this log had begun, and that recovery did not find, never is.
func (j *Journal) Committed(sequence uint32) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return !after(sequence, j.committed) && !j.lost.has(sequence)
}

// span is a stretch of sequence numbers, from the first up to, not including, the last.
type span struct{ from, to uint32 }

func (s span) has(n uint32) bool { return !after(s.from, n) && after(s.to, n) }

// seal waits for the handles of the running transaction to end, gives it its
// place in the log and makes room for the next. Called with Journal.mu held,
// returns without it. Nil: there was nothing to commit, or the journal aborted.
func (j *Journal) seal() *Transaction {
	defer j.mu.Unlock()
	t := j.running
	j.sealing = true
	for t.handles > 0 && j.Err() == nil {
		j.changed.Wait()
	}
	j.sealing = false
	j.changed.Broadcast()
	if j.Err() != nil || t.empty() {
		return nil
	}
	j.running = nil
	t.start = j.head
	t.blocks = j.logBlocks(t)
	j.head = j.advance(j.head, t.blocks)
	j.free -= t.blocks
	j.live = append(j.live, t)
	return t
}

// logBlocks counts the blocks a sealed transaction takes in the log. Records
// can no longer change for this transaction, only for the following one.
func (j *Journal) logBlocks(t *Transaction) uint32 {
	n := 0
	for _, r := range t.members {
		if r.in(t).dirty {
			n++
		}
	}
	group, revokes := j.groupBlocks(), j.layout.revokesPerBlock()
	return uint32(n + (n+group-1)/group + (len(t.revokes)+revokes-1)/revokes + 1)
}

// advance moves a position in the log on by n blocks.
func (j *Journal) advance(at, n uint32) uint32 {
	at += n
	if at >= j.sb.end() {
		at -= j.size()
	}
	return at
}

// commit makes a sealed transaction durable. commitMu is held.
func (j *Journal) commit(t *Transaction) error {
	for data := range t.ordered {
		if err := data.WriteOrdered(); err != nil {
			return err
		}
	}
	if err := j.openLog(t); err != nil {
		return err
	}
	w := &logWriter{journal: j, transaction: t, at: t.start, staging: j.staging[:0]}
	if err := w.revokes(); err != nil {
		return err
	}
	if err := w.members(); err != nil {
		return err
	}
	// Everything the commit block vouches for, file data included, is on the
	// device before it.
	if err := j.log.flush(); err != nil {
		return err
	}
	if err := w.commit(); err != nil {
		return err
	}
	if err := j.log.flush(); err != nil {
		return err
	}
	j.retire(t)
	for _, f := range t.callbacks {
		f()
	}
	t.callbacks = nil
	return nil
}

// openLog makes the superblock point at the transaction if the log was empty.
func (j *Journal) openLog(t *Transaction) error {
	j.mu.Lock()
	if j.sb.Start != 0 {
		j.mu.Unlock()
		return nil
	}
	j.sb.Start, j.sb.Sequence = t.start, t.sequence
	j.mu.Unlock()
	return j.writeSuperblock()
}

// retire moves a durable transaction's blocks to its checkpoint list, or on to
// the running transaction.
func (j *Journal) retire(t *Transaction) {
	freed := false
	for _, r := range t.members {
		b := r.buffer
		b.Mu.Lock()
		m := r.current
		r.current, r.following, r.copied = r.following, membership{}, false
		j.mu.Lock()
		switch {
		case m.freed:
			freed = true
			r.delist()
		case m.dirty:
			t.enlist(r)
		}
		listed := r.checkpoint != nil
		j.mu.Unlock()
		idle := r.current.transaction == nil
		if m.freed && !r.current.dirty {
			b.SetClean()
		}
		b.Mu.Unlock()
		if m.freed && idle && !listed {
			j.cache.Drop(b)
		}
		b.Release()
	}
	t.members = nil
	if freed {
		// A checkpoint may be writing an old copy of a freed block: until it has
		// ended, the block may not be given to others.
		j.writeMu.Lock()
		//lint:ignore SA2001 waiting for the writer is all that is wanted
		j.writeMu.Unlock()
	}
	j.mu.Lock()
	t.durable = true
	j.committed = t.sequence
	j.changed.Broadcast()
	j.mu.Unlock()
	j.stats.commits.Add(1)
	if c := j.cache.Stats(); c.Dirty > c.Limit/4 || j.crowded() {
		j.nudge()
	}
}

// logWriter writes one transaction to the log.
type logWriter struct {
	journal     *Journal
	transaction *Transaction
	at          uint32 // where in the log staging goes
	staging     []byte
}

// grow adds a block of zeroes to staging and returns it.
func (w *logWriter) grow() []byte {
	n, size := len(w.staging), w.journal.layout.blockSize
	w.staging = w.staging[:n+size]
	p := w.staging[n:]
	clear(p)
	return p
}

// send writes staging to the log, in two parts if it wraps.
func (w *logWriter) send() error {
	j := w.journal
	size := j.layout.blockSize
	for len(w.staging) > 0 {
		n := min(len(w.staging), int(j.sb.end()-w.at)*size)
		if err := j.log.write(w.at, w.staging[:n]); err != nil {
			return err
		}
		w.at = j.advance(w.at, uint32(n/size))
		w.staging = w.staging[n:]
	}
	w.staging = j.staging[:0]
	return nil
}

// revokes logs the blocks that were freed, in order so that logs are reproducible.
func (w *logWriter) revokes() error {
	l := &w.journal.layout
	if len(w.transaction.revokes) == 0 {
		return nil
	}
	blocks := make([]uint64, 0, len(w.transaction.revokes))
	for block := range w.transaction.revokes {
		blocks = append(blocks, block)
	}
	slices.SortFunc(blocks, cmp.Compare[uint64])
	for chunk := range slices.Chunk(blocks, l.revokesPerBlock()) {
		putRevokes(l, w.grow(), w.transaction.sequence, chunk)
		if len(w.staging) == cap(w.staging) {
			if err := w.send(); err != nil {
				return err
			}
		}
	}
	w.journal.stats.revokes.Add(int64(len(blocks)))
	return w.send()
}

// members logs the changed blocks, each group behind its descriptor block.
func (w *logWriter) members() error {
	j := w.journal
	logged := 0
	var g group
	for _, r := range w.transaction.members {
		p := w.copyOf(r, &g)
		if p == nil {
			continue
		}
		g.add(&j.layout, w.transaction.sequence, r.buffer.Block(), p)
		logged++
		if g.tags == j.groupBlocks() {
			if err := w.finish(&g); err != nil {
				return err
			}
		}
	}
	j.stats.blocks.Add(int64(logged))
	return w.finish(&g)
}

// copyOf puts the transaction's content of a block into staging, after the
// descriptor block if the group has none yet. Nil: it is not to be logged.
func (w *logWriter) copyOf(r *record, g *group) []byte {
	r.buffer.Mu.Lock()
	if !r.current.dirty {
		r.buffer.Mu.Unlock()
		return nil
	}
	if g.descriptor == nil {
		g.open(w.grow(), w.transaction.sequence)
	}
	content, frozen := r.buffer.Data, r.frozen
	if frozen != nil {
		content = frozen
	}
	p := w.grow()
	copy(p, content)
	r.frozen, r.copied = nil, true
	r.buffer.Mu.Unlock()
	if frozen != nil {
		w.journal.thaw(frozen)
	}
	return p
}

// finish sends a group off.
func (w *logWriter) finish(g *group) error {
	if g.descriptor == nil {
		return nil
	}
	g.close(&w.journal.layout, w.journal.sb.UUID)
	return w.send()
}

// commit writes the commit block.
func (w *logWriter) commit() error {
	l := &w.journal.layout
	p := w.grow()
	putHeader(p, blockCommit, w.transaction.sequence)
	now := w.journal.options.Now()
	binary.BigEndian.PutUint64(p[commitSecAt:], uint64(now.Unix()))
	binary.BigEndian.PutUint32(p[commitNsecAt:], uint32(now.Nanosecond()))
	if l.summed() {
		binary.BigEndian.PutUint32(p[commitSumAt:], sumWithout(l.seed, p, commitSumAt))
	}
	return w.send()
}
