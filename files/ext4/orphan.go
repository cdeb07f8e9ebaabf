package ext4

import (
	"github.com/quintet-os/quintet/files/ext4/disk"
)

// Orphans are inodes whose freeing or shortening is not finished: unlinked
// while in use, or truncated in more than one transaction. They form a list on
// the volume, from the superblock through the deletion times of the inodes, so
// that the next mount, ours or the kernel's, finishes the work.

// addOrphan puts i on the list. It needs i.mu; the caller writes i afterwards.
func (t *tx) addOrphan(i *inode) error {
	if i.orphan.Load() {
		return nil
	}
	f := t.f
	f.orphanMu.Lock()
	i.nextOrphan = 0
	if n := len(f.orphans); n > 0 {
		i.nextOrphan = f.orphans[n-1].ino
	}
	f.orphans = append(f.orphans, i)
	i.orphan.Store(true)
	f.ref(i) // the list's own
	f.orphanMu.Unlock()
	return t.writeSuper(func() { f.super.LastOrphan = f.lastOrphan() })
}

func (f *FS) lastOrphan() uint32 {
	f.orphanMu.Lock()
	defer f.orphanMu.Unlock()
	if n := len(f.orphans); n > 0 {
		return f.orphans[n-1].ino
	}
	return 0
}

// removeOrphan takes i off the list. It needs i.mu; the caller writes i.
func (t *tx) removeOrphan(i *inode) error {
	if !i.orphan.Load() {
		return nil
	}
	f := t.f
	f.orphanMu.Lock()
	at := len(f.orphans) - 1
	for at >= 0 && f.orphans[at] != i {
		at--
	}
	head := at == len(f.orphans)-1
	var before *inode // the one whose link leads to i
	if !head {
		before = f.orphans[at+1]
		before.nextOrphan = i.nextOrphan
	}
	f.orphans = append(f.orphans[:at], f.orphans[at+1:]...)
	i.orphan.Store(false)
	i.nextOrphan, i.d.Dtime = 0, 0
	var err error
	if before != nil {
		err = t.relink(before)
	}
	f.orphanMu.Unlock()
	f.put(i)
	if err != nil || !head {
		return err
	}
	return t.writeSuper(func() { f.super.LastOrphan = f.lastOrphan() })
}

// relink stores the link of an inode whose lock is not held: only that field of
// its slot is changed. orphanMu is held, as whoever writes an orphan does.
func (t *tx) relink(i *inode) error {
	return t.changeSlot(i.ino, func(slot []byte) { disk.PatchDtime(slot, t.f.sb, i.ino, i.nextOrphan) })
}

// Hold keeps inode ino in being although its last name may go, as an open file
// does, until Release.
func (f *FS) Hold(ino uint32) error {
	i, err := f.inode(ino)
	if err != nil {
		return err
	}
	s := f.inodes.shard(ino)
	s.mu.Lock()
	i.holds++
	s.mu.Unlock()
	return nil
}

// Release undoes one Hold. The last one of an inode without names frees it.
func (f *FS) Release(op *Op, ino uint32) error {
	s := f.inodes.shard(ino)
	s.mu.Lock()
	i := s.table[ino]
	if i == nil || i.holds == 0 {
		s.mu.Unlock()
		return refuse(KindInvalid, "release", ino, "")
	}
	i.holds--
	last := i.holds == 0
	s.mu.Unlock()
	defer f.put(i)
	if !last {
		return nil
	}
	if err := op.rewind(f); err != nil {
		return err
	}
	unlock, err := f.lock(i)
	if err != nil {
		return nil // freed meanwhile, which is what was wanted
	}
	defer unlock()
	f.dropSpare(i)
	if i.d.Links > 0 || !i.orphan.Load() || f.held(i) {
		return nil
	}
	return f.evict(op, i)
}

func (f *FS) held(i *inode) bool {
	s := f.inodes.shard(i.ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	return i.holds > 0
}

// goOn frees what is left of an inode that lost its last name in a part that has committed.
func (f *FS) goOn(op *Op) error {
	i, unlock, err := f.lockOne(op.Decision.Ino)
	if err != nil {
		if KindOf(err) == KindStale {
			err = nil // freed when the file system was opened
		}
		return err
	}
	defer unlock()
	if i.d.Links > 0 || !i.orphan.Load() {
		return nil
	}
	return f.evict(op, i)
}

// evict frees an orphan with all it has. It needs i.mu.
func (f *FS) evict(op *Op, i *inode) error {
	f.dropSpare(i)
	t, err := f.begin(op, creditsInode+creditsRemove, 0)
	if err != nil {
		return err
	}
	return t.end(t.dispose(i))
}

// creditsRemove is what a transaction that frees an inode asks for beside.
const creditsRemove = 48

// dispose frees the blocks, the attributes and the inode itself, restarting the
// transaction as needed; i is an orphan then.
func (t *tx) dispose(i *inode) error {
	if i.d.HasBlocks(t.f.bs) {
		if err := t.truncateBlocks(i, 0); err != nil {
			return err
		}
	}
	if err := t.dropXattrBlock(i); err != nil {
		return err
	}
	if err := t.removeOrphan(i); err != nil {
		return err
	}
	return t.freeInode(i)
}

// truncateBlocks frees all blocks from logical block from on.
func (t *tx) truncateBlocks(i *inode, from uint32) error {
	const end = 1 << 32
	for at := uint64(from); ; {
		next, err := t.removeBlocks(i, uint32(at), end)
		if err != nil || next >= end {
			return err
		}
		if err := t.addOrphan(i); err != nil {
			return err
		}
		if err := t.writeInode(i); err != nil {
			return err
		}
		if err := t.restart(creditsInode + creditsRemove); err != nil {
			return err
		}
		at = next
	}
}
