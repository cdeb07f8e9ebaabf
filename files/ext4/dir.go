package ext4

import (
	"fmt"

	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/disk"
)

// dirVerifier checks a block of a directory on its first use as what it is.
type dirVerifier struct {
	f    *FS
	i    *inode
	kind uint64
}

func (v dirVerifier) Verify(block uint64, data []byte) error {
	sb := v.f.sb
	var err error
	switch v.kind {
	case keyIndexRoot:
		err = disk.CheckIndex(disk.IndexRoot(data), sb, v.i.seed)
	case keyIndexNode:
		err = disk.CheckIndex(disk.IndexNode(data), sb, v.i.seed)
	default:
		if err = disk.CheckDirLeaf(data, sb, v.i.seed); err != nil {
			break
		}
		for off, end := 0, disk.DirentsEnd(sb); off < end; {
			d, e := disk.ReadDirent(data, off, end, sb)
			if e != nil {
				err = e
				break
			}
			off += d.RecLen
		}
	}
	return disk.At(err, v.i.ino, block)
}

// dirBlock returns logical block n of directory i, checked as a leaf, a root
// or a node of an index.
func (f *FS) dirBlock(i *inode, n uint32, kind uint64) (*buffer.Buffer, error) {
	if uint64(n) >= i.d.Size>>f.shift {
		return nil, &disk.CorruptError{Structure: "directory", Ino: i.ino, Detail: "index leads beyond the end"}
	}
	m, err := f.mapBlock(i, n)
	if err != nil {
		return nil, err
	}
	if m.hole() || m.Unwritten {
		return nil, &disk.CorruptError{Structure: "directory", Ino: i.ino, Detail: "has a hole"}
	}
	b, err := f.cache.Get(m.Physical, 0, nil)
	if key := i.key(kind); err == nil && !b.VerifiedAs(key) {
		if err := (dirVerifier{f, i, kind}).Verify(m.Physical, b.Data); err != nil {
			b.Release()
			return nil, err
		}
		b.SetVerified(key)
	}
	return b, err
}

// indexed reports whether directory d is looked up and changed through its
// index. A file system without the feature passes over indexes left from when
// it had it: they look like entries that are not in use.
func (f *FS) indexed(d *inode) bool { return d.d.Has(disk.FlagIndex) && !f.noDir }

// dirBlocks is the length of a directory.
func (f *FS) dirBlocks(i *inode) uint32 { return uint32(i.d.Size >> f.shift) }

// entry is a directory entry found, with its place. buf is pinned.
type entry struct {
	buf  *buffer.Buffer
	off  int // in the block
	prev int // offset of the entry before it in the block, or -1
	ino  uint32
	typ  uint8
}

// Lookup returns the inode that name stands for in directory dir. "." and ".."
// are entries like others. It fails with KindNotExist or KindNotDir.
func (f *FS) Lookup(dir uint32, name string) (uint32, error) {
	d, err := f.acquire(dir)
	if err != nil {
		return 0, err
	}
	defer f.release(d)
	if ino, ok := f.known.find(d, name); ok {
		return ino, nil
	}
	ino, err := f.lookup(d, name)
	if err == nil {
		f.known.add(d, f.dirBlocks(d), name, ino)
	}
	return ino, err
}

// lookup needs d.mu.
func (f *FS) lookup(d *inode, name string) (uint32, error) {
	if d.d.Has(disk.FlagInlineData) && d.d.IsDir() {
		return f.lookupInline(d, name)
	}
	e, err := f.find(d, name)
	if err != nil {
		return 0, err
	}
	e.buf.Release()
	if f.sb.Special(e.ino) {
		return 0, &disk.CorruptError{Structure: "directory", Ino: d.ino, Block: e.buf.Block(), Detail: fmt.Sprintf("entry %q leads to inode %d, which is the file system's own", name, e.ino)}
	}
	return e.ino, nil
}

// find locates an entry. It needs d.mu.
func (f *FS) find(d *inode, name string) (entry, error) {
	switch {
	case !d.d.IsDir():
		return entry{}, refuse(KindNotDir, "lookup", d.ino, name)
	case len(name) > disk.NameLenMax:
		return entry{}, refuse(KindNameTooLong, "lookup", d.ino, name)
	case name == "":
		return entry{}, refuse(KindInvalid, "lookup", d.ino, name)
	}
	if err := f.checkEncoding(d, name); err != nil {
		return entry{}, err
	}
	if f.indexed(d) {
		if name == "." || name == ".." {
			return f.findDots(d, name)
		}
		return f.findIndexed(d, name)
	}
	for n := range f.dirBlocks(d) {
		b, err := f.dirBlock(d, n, keyDirLeaf)
		if err != nil {
			return entry{}, err
		}
		if e, ok := f.scan(d, b, name); ok {
			return e, nil
		}
		b.Release()
	}
	return entry{}, refuse(KindNotExist, "lookup", d.ino, name)
}

// findDots reads the two entries at the front of an indexed directory's root.
func (f *FS) findDots(d *inode, name string) (entry, error) {
	b, err := f.dirBlock(d, 0, keyIndexRoot)
	if err != nil {
		return entry{}, err
	}
	off := 0
	if name == ".." {
		off = 12
	}
	e, err := disk.ReadDirent(b.Data, off, f.bs, f.sb)
	if err != nil || string(e.Name) != name {
		b.Release()
		return entry{}, &disk.CorruptError{Structure: "directory", Ino: d.ino, Block: b.Block(), Detail: name + " is missing"}
	}
	return entry{buf: b, off: off, prev: -1, ino: e.Ino, typ: e.Type}, nil
}

// scan looks for name in a leaf of d; when found, the pin passes to the entry.
func (f *FS) scan(d *inode, b *buffer.Buffer, name string) (entry, bool) {
	if f.folds(d) {
		return f.scanFolded(b, name)
	}
	data := b.Data
	end := disk.DirentsEnd(f.sb)
	prev := -1
	last := len(name) - 1
	for off := 0; off+8+last < end; {
		// The hot loop of every lookup: the block was checked as a whole, so
		// only what is compared is decoded.
		e := data[off:]
		if int(e[6]) == len(name) && e[8+last] == name[last] && string(e[8:9+last]) == name {
			if ino := le.Uint32(e); ino != 0 {
				typ := uint8(disk.TypeUnknown)
				if f.sb.FeatureIncompat&disk.IncompatFiletype != 0 {
					typ = e[7] & 0xF
				}
				return entry{buf: b, off: off, prev: prev, ino: ino, typ: typ}, true
			}
		}
		n := disk.RecLen(e, f.bs)
		if n < 12 {
			return entry{}, false
		}
		prev = off
		off += n
	}
	return entry{}, false
}

// lookupInline searches a directory kept in its inode, which has no entry for
// "." and only a number for "..".
func (f *FS) lookupInline(d *inode, name string) (uint32, error) {
	if name == "." {
		return d.ino, nil
	}
	list, err := f.inlineEntries(d)
	if err != nil {
		return 0, err
	}
	for _, e := range list {
		if e.Name == name || f.folds(d) && sameFolded(e.Name, name) {
			return e.Ino, nil
		}
	}
	return 0, refuse(KindNotExist, "lookup", d.ino, name)
}

// inlineEntries lists a directory kept in its inode, ".." first.
func (f *FS) inlineEntries(d *inode) ([]DirEntry, error) {
	data, err := f.inlineData(d)
	if err != nil {
		return nil, err
	}
	if len(data) < 60 {
		return nil, &disk.CorruptError{Structure: "inline directory", Ino: d.ino, Detail: "too short"}
	}
	out := []DirEntry{{Name: "..", Ino: le.Uint32(data), Type: disk.TypeDir}}
	for _, part := range [][]byte{data[4:60], data[60:]} {
		for off := 0; off < len(part); {
			e, err := disk.ReadDirent(part, off, len(part), f.sb)
			if err != nil {
				return nil, disk.At(err, d.ino, 0)
			}
			if e.Ino != 0 {
				out = append(out, DirEntry{Name: string(e.Name), Ino: e.Ino, Type: e.Type})
			}
			off += e.RecLen
		}
	}
	return out, nil
}
