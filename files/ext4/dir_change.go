package ext4

import (
	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/disk"
)

// addName adds an entry to directory d, which has none of that name. It needs
// d.mu; the caller writes d.
func (t *tx) addName(d *inode, name string, ino uint32, typ uint8) error {
	f := t.f
	d.names++
	if f.indexed(d) {
		return t.addIndexed(d, name, ino, typ)
	}
	// An index that nobody follows would be written over as unused space.
	d.d.Flags &^= disk.FlagIndex
	blocks := f.dirBlocks(d)
	for n := range blocks {
		b, err := f.dirBlock(d, n, keyDirLeaf)
		if err != nil {
			return err
		}
		ok, err := t.addToLeaf(d, b, name, ino, typ)
		b.Release()
		if err != nil || ok {
			return err
		}
	}
	if blocks == 1 && !f.noDir {
		if err := t.makeIndex(d); err != nil {
			return err
		}
		return t.addIndexed(d, name, ino, typ)
	}
	b, _, err := t.appendDirBlock(d, keyDirLeaf)
	if err != nil {
		return err
	}
	defer b.Release()
	t.emptyLeaf(b.Data)
	_, err = t.addToLeaf(d, b, name, ino, typ)
	return err
}

// emptyLeaf makes b a leaf with one unused entry.
func (t *tx) emptyLeaf(b []byte) {
	disk.PutDirent(b, 0, disk.DirentsEnd(t.f.sb), 0, 0, "", t.f.sb)
	disk.InitDirTail(b, t.f.sb)
}

// room returns where in a leaf an entry of need bytes fits: at the end of a
// used entry, or in an unused one.
func (f *FS) room(b *buffer.Buffer, need int) (off int, ok bool) {
	data := b.Data
	for end := disk.DirentsEnd(f.sb); off+8 <= end; {
		n := disk.RecLen(data[off:], f.bs)
		if n < 12 {
			return 0, false // not possible: the leaf was checked
		}
		used := 0
		if le.Uint32(data[off:]) != 0 {
			used = disk.DirentSize(int(data[off+6]))
		}
		if n-used >= need {
			return off, true
		}
		off += n
	}
	return 0, false
}

// addToLeaf adds an entry to a leaf, or reports that it does not fit.
func (t *tx) addToLeaf(d *inode, b *buffer.Buffer, name string, ino uint32, typ uint8) (bool, error) {
	sb := t.f.sb
	off, ok := t.f.room(b, disk.DirentSize(len(name)))
	if !ok {
		return false, nil
	}
	if err := t.modify(b); err != nil {
		return false, err
	}
	n := disk.RecLen(b.Data[off:], t.f.bs)
	if le.Uint32(b.Data[off:]) != 0 {
		used := disk.DirentSize(int(b.Data[off+6]))
		disk.SetRecLen(b.Data, off, used, sb)
		off += used
		n -= used
	}
	disk.PutDirent(b.Data, off, n, ino, typ, name, sb)
	disk.SealDirLeaf(b.Data, sb, d.seed)
	return true, nil
}

// removeName deletes an entry that find found.
func (t *tx) removeName(d *inode, e entry) error {
	d.names++
	if err := t.modify(e.buf); err != nil {
		return err
	}
	data := e.buf.Data
	if e.prev >= 0 {
		disk.SetRecLen(data, e.prev, disk.RecLen(data[e.prev:], t.f.bs)+disk.RecLen(data[e.off:], t.f.bs), t.f.sb)
	} else {
		disk.SetDirentIno(data, e.off, 0, 0, t.f.sb)
	}
	disk.SealDirLeaf(data, t.f.sb, d.seed)
	return nil
}

// setName makes an existing entry lead to another inode.
func (t *tx) setName(d *inode, e entry, ino uint32, typ uint8) error {
	d.names++
	if err := t.modify(e.buf); err != nil {
		return err
	}
	disk.SetDirentIno(e.buf.Data, e.off, ino, typ, t.f.sb)
	if t.f.indexed(d) && e.buf.VerifiedAs(d.key(keyIndexRoot)) {
		disk.IndexRoot(e.buf.Data).Seal(t.f.sb, d.seed)
	} else {
		disk.SealDirLeaf(e.buf.Data, t.f.sb, d.seed)
	}
	return nil
}

// appendDirBlock adds a zeroed block at the end of a directory and returns it
// with its logical number.
func (t *tx) appendDirBlock(d *inode, kind uint64) (*buffer.Buffer, uint32, error) {
	f := t.f
	n := f.dirBlocks(d)
	goal, err := f.dataGoal(d, n)
	if err != nil {
		return nil, 0, err
	}
	block, err := t.allocate(goal)
	if err != nil {
		return nil, 0, err
	}
	if err := t.mapRun(d, n, 1, block); err != nil {
		return nil, 0, err
	}
	t.addBlocks(d, 1)
	d.d.Size += uint64(f.bs)
	b, err := t.create(block)
	if err != nil {
		return nil, 0, err
	}
	b.SetVerified(d.key(kind))
	return b, n, nil
}

// initDir gives a new directory its first block.
func (t *tx) initDir(d *inode, parent uint32) error {
	b, _, err := t.appendDirBlock(d, keyDirLeaf)
	if err != nil {
		return err
	}
	defer b.Release()
	sb := t.f.sb
	disk.PutDirent(b.Data, 0, 12, d.ino, disk.TypeDir, ".", sb)
	disk.PutDirent(b.Data, 12, disk.DirentsEnd(sb)-12, parent, disk.TypeDir, "..", sb)
	disk.InitDirTail(b.Data, sb)
	disk.SealDirLeaf(b.Data, sb, d.seed)
	return nil
}

// empty reports whether a directory has no entries but the dots. It needs d.mu.
func (f *FS) empty(d *inode) (bool, error) {
	for n := range f.dirBlocks(d) {
		b, err := f.dirBlockAny(d, n)
		if err != nil {
			return false, err
		}
		found := false
		if b != nil {
			f.eachEntry(b, func(disk.Dirent) { found = true })
			b.Release()
		}
		if found {
			return false, nil
		}
	}
	return true, nil
}

// dirBlockAny returns a leaf, or nil for a block of the index.
func (f *FS) dirBlockAny(d *inode, n uint32) (*buffer.Buffer, error) {
	if !f.indexed(d) {
		return f.dirBlock(d, n, keyDirLeaf)
	}
	if n == 0 {
		return nil, nil
	}
	m, err := f.mapBlock(d, n)
	if err != nil {
		return nil, err
	}
	b, err := f.cache.Get(m.Physical, 0, nil)
	if err != nil {
		return nil, err
	}
	node := le.Uint32(b.Data) == 0 && disk.RecLen(b.Data, f.bs) == f.bs
	b.Release()
	if node && f.sb.MetadataCsum() {
		return nil, nil // a leaf's entries end before its checksum
	}
	if node {
		if b, err := f.dirBlock(d, n, keyIndexNode); err == nil {
			b.Release()
			return nil, nil
		}
	}
	return f.dirBlock(d, n, keyDirLeaf)
}
