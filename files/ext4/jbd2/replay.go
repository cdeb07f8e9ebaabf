package jbd2

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/quintet-os/quintet/files/ext4/buffer"
)

// replayBatchBlocks is how many blocks are gathered before they are written.
const replayBatchBlocks = 128

// ReplayOptions say how much to trust.
type ReplayOptions struct {
	Blocks uint64 // blocks of the volume; a logged block beyond them is an error
	// Salvage replays what can be replayed of a damaged journal, as e2fsck does:
	// the transactions before the damage, without blocks whose checksum fails.
	// The damage is still returned. Without it, damage means nothing is written.
	Salvage bool
}

// ReplayResult says what was replayed.
type ReplayResult struct {
	// Transactions First up to, not including, End. Of what was before an empty log, those
	// from End on are lost: they are if a replay has emptied it.
	First, End  uint32
	Blocks      int // written to their home
	Revoked     int // copies not written because a revoke record forbade it
	RevokeCount int // revoke records read
	// Fast says that fast commits follow transaction End-1. The log is left so that they
	// stay in force: see Log.FastBlock and Supersede.
	Fast bool
}

// Replay brings the volume to the state of the last committed transaction, in
// three passes as Linux does: find the end, collect revoke records, write. Then
// the log is marked empty. Replaying again after a crash during Replay is safe:
// the log is marked only after a flush.
//
// A log that is empty is left alone. Errors: *FormatError, *ChecksumError,
// *buffer.IOError.
func Replay(log *Log, o ReplayOptions) (ReplayResult, error) {
	sb, err := log.Load()
	if err != nil {
		return ReplayResult{}, err
	}
	if !sb.Dirty() {
		return ReplayResult{First: sb.Sequence - 1, End: sb.Sequence - 1}, nil
	}
	result := ReplayResult{First: sb.Sequence, End: sb.Sequence}
	r := &replay{log: log, sb: sb, options: o, revokes: make(revokeTable), latest: make(map[uint64]copyInLog)}
	damage := r.run(&result)
	var sum *ChecksumError
	if damage != nil && !(o.Salvage && errors.As(damage, &sum)) {
		return result, damage
	}
	if result.Fast {
		sb.Start, sb.Sequence = sb.First, result.End
	} else {
		sb.empty(result.End)
	}
	if err := log.write(0, sb.marshal()); err != nil {
		return result, err
	}
	return result, errors.Join(damage, log.flush())
}

// Wipe marks a log empty without replaying it: that of a volume which says that it needs
// none, as Linux has it. What is in the log must not pass for something new. An empty log
// is left alone. Errors: those of Replay, but for damage of what is given up.
func Wipe(log *Log) error {
	sb, err := log.Load()
	if err != nil || !sb.Dirty() {
		return err
	}
	var broken *buffer.IOError
	end, err := findEnd(log, sb)
	switch {
	case errors.As(err, &broken):
		return err
	case err != nil && !after(end, sb.Sequence):
		end = sb.Sequence
	}
	sb.empty(end)
	if err := log.write(0, sb.marshal()); err != nil {
		return err
	}
	return log.flush()
}

type replay struct {
	log     *Log
	sb      *Superblock
	options ReplayOptions
	revokes revokeTable
	latest  map[uint64]copyInLog
}

// copyInLog is the last copy of a block that is to be replayed.
type copyInLog struct {
	at      uint32
	escaped bool
}

func (r *replay) run(result *ReplayResult) error {
	var damage error
	end, err := findEnd(r.log, r.sb)
	if err != nil {
		if damage = r.tolerate(err); damage == nil {
			return err
		}
	}
	result.End = end
	if result.Fast, err = r.fastCommits(end); err != nil {
		return err
	}
	if err := r.each(end, func(w *walker, p []byte, kind, at uint32) error {
		if kind != blockRevoke {
			return w.pass(p, kind)
		}
		n, ok := r.revokes.addBlock(&w.layout, p, w.sequence)
		if !ok {
			return &FormatError{Block: at, What: "revoke block is longer than a block"}
		}
		result.RevokeCount += n
		return nil
	}); err != nil {
		return err
	}
	if err := r.each(end, func(w *walker, p []byte, kind, at uint32) error {
		if kind != blockDescriptor {
			return nil
		}
		return r.collect(w, p, result, &damage)
	}); err != nil {
		return err
	}
	if damage != nil && !r.options.Salvage {
		return damage
	}
	result.Blocks = len(r.latest)
	return errors.Join(r.write(), damage)
}

// tolerate returns the error if it is damage that may be salvaged.
func (r *replay) tolerate(err error) error {
	var sum *ChecksumError
	if r.options.Salvage && errors.As(err, &sum) {
		return err
	}
	return nil
}

// pass skips the data blocks of a descriptor.
func (w *walker) pass(p []byte, kind uint32) error {
	if kind == blockDescriptor && !w.skip(w.layout.countTags(p)) {
		return &FormatError{Block: w.next, What: "transaction is longer than the log"}
	}
	return nil
}

// each walks the transactions before end.
func (r *replay) each(end uint32, f func(w *walker, p []byte, kind, at uint32) error) error {
	w := newWalker(r.log, r.sb)
	for after(end, w.sequence) {
		p, kind, at, err := w.control()
		if err != nil {
			return err
		}
		switch kind {
		case blockCommit:
			w.sequence++
		case blockDescriptor, blockRevoke:
			if err := f(w, p, kind, at); err != nil {
				return err
			}
		default:
			return &FormatError{Block: at, What: fmt.Sprintf("transaction %d has changed while it was replayed", w.sequence)}
		}
	}
	return nil
}

// collect notes where the blocks of one descriptor are, after checking them.
func (r *replay) collect(w *walker, descriptor []byte, result *ReplayResult, damage *error) error {
	if !w.layout.tailValid(descriptor) {
		return &ChecksumError{"descriptor block", w.next, w.sequence}
	}
	var err error
	w.layout.tags(descriptor, func(t tag) bool {
		var data []byte
		var at uint32
		var ok bool
		if data, at, ok, err = w.take(); err != nil {
			return false
		}
		switch {
		case !ok:
			err = &FormatError{Block: w.next, What: "transaction is longer than the log"}
			return false
		case r.revokes.revoked(t.block, w.sequence):
			result.Revoked++
		case w.layout.summed() && t.sum != w.layout.dataSum(w.sequence, data):
			if *damage == nil {
				*damage = &ChecksumError{"data block", at, w.sequence}
			}
		case t.block >= r.options.Blocks:
			err = &FormatError{Block: at, What: fmt.Sprintf("belongs to block %d, and the volume has %d blocks", t.block, r.options.Blocks)}
			return false
		default:
			r.latest[t.block] = copyInLog{at: at, escaped: t.flags&tagEscaped != 0}
		}
		return true
	})
	return err
}

// write copies the collected blocks home, in the order of the volume.
func (r *replay) write() error {
	homes := make([]uint64, 0, len(r.latest))
	for block := range r.latest {
		homes = append(homes, block)
	}
	slices.SortFunc(homes, cmp.Compare[uint64])
	size := r.log.BlockSize
	batch := make([]byte, 0, replayBatchBlocks*size)
	for i, home := range homes {
		n := len(batch)
		batch = batch[:n+size]
		from := r.latest[home]
		if err := r.log.read(from.at, batch[n:]); err != nil {
			return err
		}
		if from.escaped {
			binary.BigEndian.PutUint32(batch[n:], magic)
		}
		if i+1 < len(homes) && homes[i+1] == home+1 && len(batch) < cap(batch) {
			continue
		}
		first := home + 1 - uint64(len(batch)/size)
		if _, err := r.log.Device.WriteAt(batch, int64(first)*int64(size)); err != nil {
			return &buffer.IOError{Op: "write", Block: first, Err: err}
		}
		batch = batch[:0]
	}
	return r.log.flush()
}
