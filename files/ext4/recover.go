package ext4

import (
	"context"
	"fmt"

	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/jbd2"
)

// journalLog finds where the journal lies.
func (f *FS) journalLog() (jbd2.Log, error) {
	log := jbd2.Log{Device: f.volume, BlockSize: f.bs}
	if f.sb.JournalInode == 0 {
		return log, &disk.UnsupportedError{Features: []string{"external journal"}, Why: "write this file system"}
	}
	i, err := f.acquire(f.sb.JournalInode)
	if err != nil {
		return log, err
	}
	defer f.release(i)
	blocks := i.d.Size >> f.shift
	if !i.d.IsRegular() || blocks == 0 || blocks > min(f.sb.BlocksCount, 1<<31) {
		return log, &disk.CorruptError{Structure: "journal", Ino: i.ino, Detail: fmt.Sprintf("length is %d blocks", blocks)}
	}
	for at := uint32(0); uint64(at) < blocks; {
		m, err := f.mapBlock(i, at)
		if err != nil {
			return log, err
		}
		if m.hole() || m.Unwritten {
			return log, &disk.CorruptError{Structure: "journal", Ino: i.ino, Detail: "has a hole"}
		}
		n := uint32(min(uint64(m.Len), blocks-uint64(at)))
		log.Runs = append(log.Runs, jbd2.Run{Start: m.Physical, Count: n})
		at += n
	}
	return log, nil
}

// Journal returns where the journal lies on the volume, for looking at it.
func (f *FS) Journal() (jbd2.Log, error) { return f.journalLog() }

// Superblock returns a copy of the superblock as it was when f was opened.
func (f *FS) Superblock() disk.Superblock { return *f.sb }

// replay brings the volume up to date from its journal. Fast commits that follow are put
// in their place on over, if that is given, or else on the volume.
func replay(f *FS, o Options, over *overlay) (*jbd2.ReplayResult, error) {
	log, err := f.journalLog()
	if err != nil {
		return nil, err
	}
	result, err := jbd2.Replay(&log, jbd2.ReplayOptions{Blocks: f.sb.BlocksCount})
	if err != nil {
		return nil, fmt.Errorf("ext4: replaying the journal: %w", err)
	}
	if !result.Fast {
		return &result, nil
	}
	if over != nil {
		return &result, replayFast(over, &log, result.End, o)
	}
	over = newOverlay(f.volume)
	if err := replayFast(over, &log, result.End, o); err != nil {
		return nil, err
	}
	blocks, err := over.blocks(f.bs)
	if err == nil {
		err = jbd2.Supersede(&log, blocks)
	}
	if err != nil {
		return nil, fmt.Errorf("ext4: replaying fast commits: %w", err)
	}
	return &result, nil
}

// start makes f writable: the journal is opened, and the volume marked as in
// need of recovery, or of e2fsck if it has no journal, until Close. replayed is what its recovery found, nil if it needed
// none.
func (f *FS) start(o Options, replayed *jbd2.ReplayResult) error {
	log := newUnlogged(f)
	if f.logged() {
		var err error
		if log, err = f.journalLog(); err != nil {
			return err
		}
		if err := f.takeErrors(&log); err != nil {
			return err
		}
		f.super.FeatureIncompat |= disk.IncompatRecover
	} else {
		f.super.State &^= disk.StateValid
	}
	now := o.Now()
	f.super.MountTime, f.super.WriteTime = uint64(now.Unix()), uint64(now.Unix())
	f.super.MountCount++
	if f.sb.RevLevel > 0 {
		f.super.FeatureROCompat |= disk.ROCompatLargeFile
	}
	if err := f.writeSuperNow(); err != nil {
		return err
	}
	journal, err := jbd2.Open(log, jbd2.Options{
		Cache: f.cache, Now: o.Now, Wide: f.sb.Has(0, disk.Incompat64Bit, 0), Checksums: f.sb.MetadataCsum(),
		Replayed: replayed, OnAbort: func(error) { f.readOnly.Store(true) },
	})
	if err != nil {
		return fmt.Errorf("ext4: opening the journal: %w", err)
	}
	f.journal = journal
	f.generations.Store(uint64(now.UnixNano()))
	f.available.Store(f.freeBlocks.Load())
	f.readOnly.Store(false)
	return nil
}

// takeErrors notes in the superblock that the journal was aborted, so that e2fsck looks
// at the volume, and empties a log that the superblock says need not be replayed.
func (f *FS) takeErrors(log *jbd2.Log) error {
	sb, err := log.Load()
	if err != nil {
		return fmt.Errorf("ext4: reading the journal: %w", err)
	}
	if sb.Errno != 0 {
		f.noteError(disk.ErrorRecord{What: named("journal: aborted"), Code: disk.ErrorIO})
	}
	if err := jbd2.Wipe(log); err != nil {
		return fmt.Errorf("ext4: emptying the journal: %w", err)
	}
	return nil
}

// writeSuperNow writes the superblock past the journal, while it is empty.
func (f *FS) writeSuperNow() error {
	b, raw, err := f.superBuffer()
	if err != nil {
		return err
	}
	defer b.Release()
	f.superMu.Lock()
	defer f.superMu.Unlock()
	f.super.Encode(raw)
	if err := f.cache.WriteBlocks(b.Block(), b.Data); err != nil {
		return err
	}
	return f.cache.Flush()
}

// loadOrphans reads the list of orphans of the volume; each is in memory and
// referenced then, as if held by nobody.
func (f *FS) loadOrphans() error {
	var list []*inode
	ino := f.super.LastOrphan
	for ino != 0 {
		i, err := f.loadOrphan(ino)
		if isDamage(err) {
			// What follows is lost, as with Linux; e2fsck finds it.
			f.note(disk.At(disk.Corrupt("list of orphans", "%v", err), ino, 0))
			if len(list) > 0 {
				list[len(list)-1].nextOrphan = 0
			} else {
				f.super.LastOrphan = 0
			}
			break
		}
		if err != nil {
			return err
		}
		i.nextOrphan = i.d.Dtime
		list = append(list, i)
		ino = i.nextOrphan
	}
	// The head of the list is its youngest member, which stands last here.
	for n := len(list) - 1; n >= 0; n-- {
		f.orphans = append(f.orphans, list[n])
	}
	return nil
}

// loadOrphan reads an inode that may have no names.
func (f *FS) loadOrphan(ino uint32) (*inode, error) {
	if ino < f.sb.FirstInode || ino > f.sb.InodesCount {
		return nil, disk.Corrupt("list of orphans", "names inode %d", ino)
	}
	s := f.inodes.shard(ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.table[ino] != nil {
		return nil, disk.Corrupt("list of orphans", "is a circle at inode %d", ino)
	}
	i := f.newInode(ino)
	i.orphan.Store(true)
	if err := f.load(i); err != nil {
		return nil, err
	}
	i.state.Store(inodeReady)
	s.table[ino] = i
	return i, nil
}

// Orphans lists inodes without names that were found when the file system was
// opened with KeepOrphans, or have become so since.
func (f *FS) Orphans() []uint32 {
	f.orphanMu.Lock()
	defer f.orphanMu.Unlock()
	var out []uint32
	for _, i := range f.orphans {
		out = append(out, i.ino)
	}
	return out
}

// ReapOrphans frees the orphans that nobody holds, and finishes what was left
// of truncations.
func (f *FS) ReapOrphans(op *Op) error {
	f.orphanMu.Lock()
	list := append([]*inode(nil), f.orphans...)
	for _, i := range list {
		f.ref(i)
	}
	f.orphanMu.Unlock()
	for n := len(list) - 1; n >= 0; n-- {
		i := list[n]
		err := f.reap(op, i)
		f.put(i)
		if err != nil {
			return fmt.Errorf("ext4: freeing orphan %d: %w", i.ino, err)
		}
	}
	return nil
}

func (f *FS) reap(op *Op, i *inode) error {
	unlock, err := f.lock(i)
	if err != nil {
		return nil // freed meanwhile
	}
	defer unlock()
	switch {
	case !i.orphan.Load() || f.held(i):
		return nil
	case i.d.Links == 0:
		return f.evict(op, i)
	}
	return f.truncate(op, i, i.d.Size, 0, 0, func(*tx) error { return nil })
}

// Run commits what has been done every few seconds, and writes it home, until
// ctx ends. Without it that is done by the operations that run out of room.
func (f *FS) Run(ctx context.Context) {
	if f.journal != nil {
		f.journal.Run(ctx)
	}
}

// Sync makes everything done so far durable.
func (f *FS) Sync() error {
	if f.journal == nil || f.readOnly.Load() {
		return f.syncReadOnly()
	}
	if err := f.writeNoted(); err != nil {
		return err
	}
	if err := f.settled(f.journal.Latest()); err != nil {
		return err
	}
	if err := f.journal.Err(); err != nil {
		return err
	}
	return f.cache.Flush()
}

func (f *FS) syncReadOnly() error {
	if f.journal != nil {
		return f.journal.Err()
	}
	return nil
}

// Fsync makes what was done to inode ino durable, its data and its metadata.
func (f *FS) Fsync(ino uint32) error {
	i, err := f.acquire(ino)
	if err != nil {
		return err
	}
	sequence := i.changed
	f.release(i)
	if f.journal == nil {
		return nil
	}
	if err := f.journal.Err(); err != nil {
		return err
	}
	if sequence != 0 && !f.Committed(sequence) {
		return f.settled(sequence) // flushes the data on its way
	}
	return f.cache.Flush()
}

// Committed reports whether the transaction of a Decision is durable: also of one that
// was made before f was opened.
func (f *FS) Committed(sequence uint32) bool {
	if f.journal != nil && !f.logged() {
		return f.journal.Home(sequence)
	}
	return f.journal == nil || f.journal.Committed(sequence)
}

// Close ends all use of f: what was done is made durable, and the volume marked
// as clean. The volume stays open. After the journal was aborted the volume is
// left for the next Open to recover, and the cause returned.
func (f *FS) Close() error {
	if f.closed.Swap(true) || f.journal == nil {
		return nil
	}
	if err := f.journal.Close(); err != nil {
		return err
	}
	f.super.FeatureIncompat &^= disk.IncompatRecover
	f.super.State |= f.sb.State & disk.StateValid // not one that was not clean before
	return f.writeSuperNow()
}
