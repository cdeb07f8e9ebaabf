package ext4

import (
	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/jbd2"
)

// unloggedBlocks is how long the log of a volume without a journal would be: it bounds
// what waits to be written home.
const unloggedBlocks = 16 << 10

// unlogged stands in for the journal of a volume that has none (ext2, mke2fs -O
// ^has_journal). Operations are gathered in transactions as on any volume, and written
// home by checkpoints, but nothing is logged: after power loss, or the death of the
// process, the volume is what a checkpoint under way has left, and e2fsck's to mend, as
// it is with Linux. It is marked as not cleanly unmounted meanwhile.
type unlogged struct {
	volume buffer.Device
	super  []byte // the journal's own first block
}

// newUnlogged returns a log of nothing.
func newUnlogged(f *FS) jbd2.Log {
	u := &unlogged{volume: f.volume, super: jbd2.NewSuperblock(f.bs, unloggedBlocks, f.sb.UUID)}
	return jbd2.Log{Device: u, BlockSize: f.bs, Runs: []jbd2.Run{{Count: unloggedBlocks}}}
}

// ReadAt reads the journal's superblock; nothing else is ever asked for.
func (u *unlogged) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < int64(len(u.super)) {
		copy(p, u.super[off:])
	}
	return len(p), nil
}

// WriteAt keeps the journal's superblock.
func (u *unlogged) WriteAt(p []byte, off int64) (int, error) {
	if off < int64(len(u.super)) {
		copy(u.super[off:], p)
	}
	return len(p), nil
}

// Flush makes what has been written home durable, and the data.
func (u *unlogged) Flush() error { return u.volume.Flush() }

// logged tells whether the file system has a journal.
func (f *FS) logged() bool { return f.sb.Has(disk.CompatHasJournal, 0, 0) }

// settled makes durable what transactions up to a number have changed: a commit, and
// without a journal all that has been committed is written home too.
func (f *FS) settled(sequence uint32) error {
	if err := f.journal.Commit(sequence); err != nil {
		return err
	}
	if f.logged() {
		return nil
	}
	if err := f.journal.WriteHome(sequence); err != nil {
		return err
	}
	return f.cache.Flush()
}
