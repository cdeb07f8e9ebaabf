package ext4

import (
	"time"

	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/jbd2"
	"github.com/quintet-os/quintet/storage"
)

// Open opens the file system on v, which stays the caller's to close. Unless it
// is to be read only, a journal that holds transactions or fast commits is replayed, and
// inodes without names are freed. A volume without a journal that was not closed is
// opened as it is, as Linux does: e2fsck should have seen it before.
//
// A volume on which errors are recorded is written, and stays marked for e2fsck, as with
// Linux; that the journal was aborted is recorded so, and damage that is met later. The volume
// says whether it is written on then.
//
// Errors: *disk.CorruptError when the superblock is damaged; *disk.UnsupportedError when a feature prevents reading, or
// writing unless ReadOnly is set; those of package jbd2; errors of the volume.
func Open(v storage.Volume, o Options) (*FS, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	sb, err := ReadSuperblock(v)
	if err != nil {
		return nil, err
	}
	f, err := newFS(v, sb, o)
	if err != nil {
		return nil, err
	}
	f.readOnly.Store(true)
	recover := sb.Has(0, disk.IncompatRecover, 0)
	if o.NoRecovery || o.ReadOnly && !recover {
		return f, nil
	}
	if o.ReadOnly {
		return openReplayed(v, sb, o)
	}
	if err := f.checkWritable(); err != nil {
		return nil, err
	}
	var replayed *jbd2.ReplayResult
	if recover {
		if replayed, err = replay(f, o, nil); err != nil {
			return nil, err
		}
		// What was read before the replay may be out of date.
		if sb, err = ReadSuperblock(v); err != nil {
			return nil, err
		}
		if f, err = newFS(v, sb, o); err != nil {
			return nil, err
		}
		f.readOnly.Store(true)
		if err := f.recount(); err != nil {
			return nil, err
		}
	}
	if !f.logged() && f.sb.State&disk.StateValid == 0 {
		// It was not closed: the counts are those of some time before.
		if err := f.recount(); err != nil {
			return nil, err
		}
	}
	if f.sb.Has(disk.CompatOrphanFile, 0, 0) {
		// Linux refuses a damaged one even when it is said to be empty.
		if err := f.eachOrphanBlock(func(*inode, *buffer.Buffer) error { return nil }); err != nil {
			return nil, err
		}
	}
	if err := f.openQuotas(o.EnforceQuotas); err != nil {
		return nil, err
	}
	if err := f.start(o, replayed); err != nil {
		return nil, err
	}
	if err := f.recoverOrphans(o); err != nil {
		f.journal.Abort(err)
		return nil, err
	}
	return f, nil
}

// openReplayed opens a file system as its journal says it is, without writing
// to the volume.
func openReplayed(v storage.Volume, sb *disk.Superblock, o Options) (*FS, error) {
	over := newOverlay(v)
	f, err := newFS(over, sb, o)
	if err != nil {
		return nil, err
	}
	if _, err := replay(f, o, over); err != nil {
		return nil, err
	}
	if sb, err = ReadSuperblock(over); err != nil {
		return nil, err
	}
	if f, err = newFS(over, sb, o); err != nil {
		return nil, err
	}
	f.readOnly.Store(true)
	return f, nil
}

// checkWritable refuses what cannot be written safely.
func (f *FS) checkWritable() error {
	if err := f.sb.CheckWritable(); err != nil {
		return err
	}
	if !f.volume.Writable() {
		return refuse(KindReadOnly, "open", 0, "")
	}
	return nil
}

// recount takes the numbers of free blocks and inodes from the groups: the
// kernel writes those of the superblock when it unmounts, and only then.
func (f *FS) recount() error {
	var blocks, inodes uint64
	for c := range uint32(f.sb.DescBlocks()) {
		groups, err := f.groups.load(c)
		if err != nil {
			return err
		}
		for k := range groups {
			blocks += uint64(groups[k].d.FreeBlocks)
			inodes += uint64(groups[k].d.FreeInodes)
		}
	}
	if blocks > f.sb.BlocksCount || inodes > uint64(f.sb.InodesCount) {
		return disk.Corrupt("block groups", "%d blocks and %d inodes are free, more than there are", blocks, inodes)
	}
	f.super.FreeBlocks, f.super.FreeInodes = blocks, uint32(inodes)
	f.freeBlocks.Store(int64(blocks))
	f.freeInodes.Store(int64(inodes))
	return nil
}

func (f *FS) recoverOrphans(o Options) error {
	op := &Op{Now: o.Now(), Privileged: true}
	if err := f.loadOrphans(); err != nil {
		return err
	}
	if f.sb.Has(disk.CompatOrphanFile, 0, disk.ROCompatOrphanPresent) {
		if err := f.emptyOrphanFile(op); err != nil {
			return err
		}
	}
	if o.KeepOrphans {
		return nil
	}
	return f.ReapOrphans(op)
}
