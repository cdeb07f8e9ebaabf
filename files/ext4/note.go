package ext4

import (
	"errors"

	"github.com/quintet-os/quintet/files/ext4/disk"
)

// note records damage that was found in a volume that is written, as Linux does: in the
// superblock, where it stays until e2fsck has looked at the volume. It is written with the
// next change, by Sync or by Close. What the volume says is to be done at errors is done,
// but for a panic: unless it is to be gone on, all further changes are refused with
// KindReadOnly, and those made before are kept. Locks of anything but the superblock may
// be held.
func (f *FS) note(err error) {
	var c *disk.CorruptError
	if f.journal == nil || !errors.As(err, &c) {
		return
	}
	f.superMu.Lock()
	defer f.superMu.Unlock()
	f.noteError(disk.ErrorRecord{Ino: c.Ino, Block: c.Block, What: named(c.Structure), Code: disk.ErrorCorrupted})
	f.noted.Store(true)
	if b := f.super.ErrorsBehaviour; b == disk.ErrorsReadOnly || b == disk.ErrorsPanic {
		f.stopped.Store(true)
	}
}

// noteError changes the superblock in memory. superMu is held, or nobody has f yet.
func (f *FS) noteError(e disk.ErrorRecord) {
	s := &f.super
	s.State |= disk.StateError
	s.ErrorCount++
	s.LastErrorTime, s.LastError = uint32(f.now().Unix()), e
	if s.FirstErrorTime == 0 {
		s.FirstErrorTime, s.FirstError = s.LastErrorTime, e
	}
}

func named(structure string) (what [32]byte) {
	copy(what[:len(what)-1], structure)
	return what
}

// writeNoted writes what was noted, if nothing has since.
func (f *FS) writeNoted() error {
	if !f.noted.Load() {
		return nil
	}
	h, err := f.journal.Start(creditsInode)
	if err != nil {
		return err
	}
	t := &tx{f: f, h: h, op: &Op{}}
	return t.end(t.writeSuper(func() {}))
}
