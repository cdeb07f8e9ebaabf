package ext4

import "github.com/quintet-os/quintet/files/ext4/disk"

// InodeBlock returns the block of the volume that holds inode ino, which may be
// free, and the offset in it, in bytes.
func (f *FS) InodeBlock(ino uint32) (block uint64, off int, err error) {
	b, off, err := f.inodeSlot(ino)
	if err != nil {
		return 0, 0, err
	}
	defer b.Release()
	return b.Block(), off, nil
}

// Extents passes the mapped runs of blocks of inode ino, in the order of the
// file, to yield until it returns false. Holes are left out; an inode that maps
// no blocks has none. yield must not call f: the inode is locked.
func (f *FS) Extents(ino uint32, yield func(disk.Extent) bool) error {
	i, err := f.acquire(ino)
	if err != nil {
		return err
	}
	defer f.release(i)
	if !i.d.HasBlocks(f.bs) {
		return nil
	}
	for at := uint64(0); at < disk.LogicalBlocksMax; {
		m, err := f.mapBlock(i, uint32(at))
		if err != nil {
			return err
		}
		if !m.hole() && !yield(disk.Extent{Logical: m.Logical, Len: m.Len, Physical: m.Physical, Unwritten: m.Unwritten}) {
			return nil
		}
		at += uint64(m.Len)
	}
	return nil
}
