package jbd2

import (
	"cmp"
	"slices"
)

// checkpointBatchBlocks is how many home copies are in flight under one hold of writeMu.
const checkpointBatchBlocks = 64

// checkpoint writes committed blocks home, oldest transactions first, until at
// least want blocks of the log are free, or, if want is 0, until the log is
// empty; then it moves the tail of the log on. done is false when what is left
// stands in the running or committing transaction too, so that a commit is
// needed first. Errors: *AbortError.
func (j *Journal) checkpoint(want uint32) (done bool, err error) {
	j.checkpointMu.Lock()
	defer j.checkpointMu.Unlock()
	if err := j.Err(); err != nil {
		return false, err
	}
	records := j.due(want)
	slices.SortFunc(records, func(a, b *record) int { return cmp.Compare(a.buffer.Block(), b.buffer.Block()) })
	for batch := range slices.Chunk(records, checkpointBatchBlocks) {
		if err := j.writeHome(batch); err != nil {
			return false, j.abort(0, err)
		}
	}
	if err := j.moveTail(); err != nil {
		return false, j.abort(0, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if want == 0 {
		return len(j.live) == 0, nil
	}
	return j.free >= want, nil
}

// Home reports whether a transaction has been written home, so that its log is not
// needed any more.
func (j *Journal) Home(sequence uint32) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return !after(sequence, j.committed) && !j.lost.has(sequence) && (len(j.live) == 0 || after(j.live[0].sequence, sequence))
}

// WriteHome returns once that is so of a transaction, which is committed. The caller
// holds no handle. Errors: *AbortError; ErrBusy when others keep changing its blocks.
func (j *Journal) WriteHome(sequence uint32) error {
	for range flushRoundsMax {
		if j.Home(sequence) {
			return nil
		}
		if _, err := j.checkpoint(0); err != nil {
			return err
		}
		if j.Home(sequence) {
			return nil
		}
		// A block of it stands in the running transaction too.
		if err := j.CommitRunning(); err != nil {
			return err
		}
	}
	return ErrBusy
}

// due returns the pinned blocks of the oldest transactions whose log space adds
// up to what is wanted.
func (j *Journal) due(want uint32) (records []*record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	free := j.free
	for _, t := range j.live {
		if !t.durable || want != 0 && free >= want {
			break
		}
		free += t.blocks
		for r := t.pending; r != nil; r = r.succ {
			r.buffer.Pin()
			records = append(records, r)
		}
	}
	return records
}

// writeHome writes those of the blocks home that belong to no transaction, and
// releases all.
func (j *Journal) writeHome(batch []*record) error {
	j.writeMu.Lock()
	defer j.writeMu.Unlock()
	size := j.layout.blockSize
	staging := make([]byte, 0, len(batch)*size)
	var written []*record
	var from []*Transaction // the checkpoint list each was on when it was copied
	var first uint64
	var failed error
	send := func() {
		if len(staging) > 0 && failed == nil {
			failed = j.cache.WriteBlocks(first, staging)
		}
		staging = staging[:0]
	}
	for _, r := range batch {
		b := r.buffer
		b.Mu.Lock()
		j.mu.Lock()
		list := r.checkpoint
		j.mu.Unlock()
		if list == nil || r.current.transaction != nil {
			b.Mu.Unlock()
			continue
		}
		if b.Block() != first+uint64(len(staging)/size) {
			send()
			first = b.Block()
		}
		staging = append(staging, b.Data...)
		b.Mu.Unlock()
		written = append(written, r)
		from = append(from, list)
	}
	send()
	if failed == nil {
		for i, r := range written {
			j.settle(r, from[i])
		}
		j.stats.checkpointed.Add(int64(len(written)))
	}
	for _, r := range batch {
		r.buffer.Release()
	}
	return failed
}

// settle takes a block that was written home off its checkpoint list, unless it
// has got onto a newer transaction's meanwhile.
func (j *Journal) settle(r *record, list *Transaction) {
	r.buffer.Mu.Lock()
	defer r.buffer.Mu.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	if r.checkpoint != list {
		return
	}
	r.delist()
	if !r.current.dirty && !r.following.dirty {
		r.buffer.SetClean()
	}
}

// moveTail gives back the log space of the oldest transactions that have
// nothing left to write home: first their home copies are made durable, then
// the superblock names the new tail, and only then is the space used again.
func (j *Journal) moveTail() error {
	j.mu.Lock()
	n := 0
	var blocks uint32
	for n < len(j.live) && j.live[n].durable && j.live[n].pendingCount == 0 {
		blocks += j.live[n].blocks
		n++
	}
	if n == 0 {
		j.mu.Unlock()
		return nil
	}
	start, sequence := j.head, j.live[n-1].sequence+1
	if n < len(j.live) {
		start, sequence = j.live[n].start, j.live[n].sequence
	}
	j.mu.Unlock()
	if err := j.log.flush(); err != nil {
		return err
	}
	j.mu.Lock()
	j.sb.Start, j.sb.Sequence = start, sequence
	j.mu.Unlock()
	if err := j.writeSuperblock(); err != nil {
		return err
	}
	j.mu.Lock()
	j.live = slices.Delete(j.live, 0, n)
	j.free += blocks
	j.changed.Broadcast()
	j.mu.Unlock()
	j.stats.checkpoints.Add(1)
	return nil
}
