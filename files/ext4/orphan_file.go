package ext4

import (
	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/disk"
)

// The kernel can keep orphans in a file instead of a list. This package reads
// the file, and keeps the list.

// eachOrphanBlock visits the blocks of the file of orphans, checked, until
// visit fails.
func (f *FS) eachOrphanBlock(visit func(file *inode, b *buffer.Buffer) error) error {
	file, err := f.inode(f.sb.OrphanFileInode)
	if err != nil {
		return err
	}
	defer f.put(file)
	for n := range uint32(min(file.d.Size>>f.shift, f.sb.BlocksCount)) {
		m, err := f.mapBlock(file, n)
		if err != nil {
			return err
		}
		if m.hole() || m.Unwritten {
			return &disk.CorruptError{Structure: "orphan file", Ino: file.ino, Detail: "has a hole"}
		}
		b, err := f.cache.Get(m.Physical, 0, nil)
		if err != nil {
			return err
		}
		if err = disk.At(disk.CheckOrphanBlock(b.Data, f.sb, file.seed, m.Physical), file.ino, m.Physical); err == nil {
			err = visit(file, b)
		}
		b.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// emptyOrphanFile puts what the file of orphans names on the list, one in each
// transaction, so that it is always on exactly one of them.
func (f *FS) emptyOrphanFile(op *Op) error {
	err := f.eachOrphanBlock(func(file *inode, b *buffer.Buffer) error {
		for k := range disk.OrphansPerBlock(f.sb) {
			if ino := disk.Orphan(b.Data, k); ino != 0 {
				if err := f.moveOrphan(op, file, b, k, ino); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	t, err := f.begin(op, creditsInode, 0)
	if err != nil {
		return err
	}
	return t.end(t.writeSuper(func() { f.super.FeatureROCompat &^= disk.ROCompatOrphanPresent }))
}

// moveOrphan moves inode ino, entry k of a block of the file, to the list.
func (f *FS) moveOrphan(op *Op, file *inode, b *buffer.Buffer, k int, ino uint32) error {
	i, err := f.loadOrphan(ino)
	if err != nil {
		return err
	}
	defer f.put(i)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.orphan.Store(false) // not on the list yet
	t, err := f.begin(op, 2*creditsInode, 0)
	if err != nil {
		return err
	}
	return t.end(func() error {
		if err := t.modify(b); err != nil {
			return err
		}
		disk.SetOrphan(b.Data, k, 0)
		disk.SealOrphanBlock(b.Data, f.sb, file.seed, b.Block())
		if err := t.addOrphan(i); err != nil {
			return err
		}
		return t.writeInode(i)
	}())
}
