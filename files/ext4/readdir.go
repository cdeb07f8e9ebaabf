package ext4

import (
	"cmp"
	"slices"

	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/disk"
)

// DirEntry is one name of a directory.
type DirEntry struct {
	Name string
	Ino  uint32
	Type uint8 // disk.Type...; disk.TypeUnknown when the directory does not say
	// Cookie continues a listing behind this entry. It stays valid while the
	// directory changes: entries that stay are listed exactly once.
	Cookie uint64
}

const (
	cookieDot    = 1
	cookieDotDot = 2
	cookieFirst  = 3 // plus the position
)

// ReadDir passes the entries of directory dir behind cookie (0: from the
// start) to yield until it returns false. Entries come in the order of their
// hashes, so that splitting a block while a listing pauses neither repeats nor
// loses one. yield must not call f: the directory is locked.
func (f *FS) ReadDir(dir uint32, cookie uint64, yield func(DirEntry) bool) error {
	d, err := f.acquire(dir)
	if err != nil {
		return err
	}
	defer f.release(d)
	if !d.d.IsDir() {
		return refuse(KindNotDir, "readdir", dir, "")
	}
	if d.d.Has(disk.FlagInlineData) {
		return f.readInline(d, cookie, yield)
	}
	for c, name := range []string{".", ".."} {
		c := uint64(c + 1)
		if cookie >= c {
			continue
		}
		e, err := f.find(d, name)
		if KindOf(err) == KindNotExist {
			return &disk.CorruptError{Structure: "directory", Ino: dir, Detail: name + " is missing"}
		}
		if err != nil {
			return err
		}
		e.buf.Release()
		if !yield(DirEntry{Name: name, Ino: e.ino, Type: disk.TypeDir, Cookie: c}) {
			return nil
		}
	}
	from := uint64(0) // first position wanted
	if cookie >= cookieFirst {
		from = cookie - cookieFirst + 1
	}
	switch {
	case f.noDir:
		return f.readLinear(d, from, yield)
	case f.indexed(d):
		return f.readIndexed(d, from, yield)
	case f.dirBlocks(d) <= 1:
		return f.readSorted(d, from, yield)
	}
	return f.readLinear(d, from, yield)
}

func (f *FS) readInline(d *inode, cookie uint64, yield func(DirEntry) bool) error {
	list, err := f.inlineEntries(d)
	if err != nil {
		return err
	}
	list = append([]DirEntry{{Name: ".", Ino: d.ino, Type: disk.TypeDir}}, list...)
	for n := range list {
		list[n].Cookie = uint64(n + 1)
		if list[n].Cookie > cookie && !yield(list[n]) {
			return nil
		}
	}
	return nil
}

// readLinear lists in the order of the blocks; positions are byte offsets.
func (f *FS) readLinear(d *inode, from uint64, yield func(DirEntry) bool) error {
	for n := uint32(from >> f.shift); n < f.dirBlocks(d); n++ {
		b, err := f.dirBlock(d, n, keyDirLeaf)
		if err != nil {
			return err
		}
		more := true
		f.eachEntry(b, func(e disk.Dirent) {
			pos := uint64(n)<<f.shift + uint64(e.Offset)
			if more && pos >= from {
				more = yield(DirEntry{Name: string(e.Name), Ino: e.Ino, Type: e.Type, Cookie: pos + cookieFirst})
			}
		})
		b.Release()
		if !more {
			return nil
		}
	}
	return nil
}

// eachEntry visits the used entries of a leaf, but for the dots.
func (f *FS) eachEntry(b *buffer.Buffer, visit func(disk.Dirent)) {
	for off, end := 0, disk.DirentsEnd(f.sb); off < end; {
		e, err := disk.ReadDirent(b.Data, off, end, f.sb)
		if err != nil {
			return
		}
		if e.Ino != 0 && !isDots(e.Name) {
			visit(e)
		}
		off += e.RecLen
	}
}

func isDots(name []byte) bool {
	return len(name) == 1 && name[0] == '.' || len(name) == 2 && name[0] == '.' && name[1] == '.'
}

// position orders names by hash. The legacy hash has no minor part; a checksum
// of the name stands in for it.
func (f *FS) position(d *inode, version uint8, name []byte) (uint64, error) {
	major, minor, err := f.nameHash(d, version, name)
	if err != nil {
		return 0, err
	}
	if minor == 0 {
		minor = disk.CRC32C(0, name)
	}
	return uint64(major>>1)<<32 | uint64(minor), nil
}

// gather adds the entries of a leaf from position from on.
func (f *FS) gather(list []DirEntry, d *inode, b *buffer.Buffer, version uint8, from uint64) (_ []DirEntry, err error) {
	f.eachEntry(b, func(e disk.Dirent) {
		pos, perr := f.position(d, version, e.Name)
		if perr != nil {
			err = perr
			return
		}
		if pos >= from {
			list = append(list, DirEntry{Name: string(e.Name), Ino: e.Ino, Type: e.Type, Cookie: pos + cookieFirst})
		}
	})
	return list, err
}

func emit(list []DirEntry, yield func(DirEntry) bool) bool {
	slices.SortFunc(list, func(a, b DirEntry) int {
		return cmp.Or(cmp.Compare(a.Cookie, b.Cookie), cmp.Compare(a.Name, b.Name))
	})
	for _, e := range list {
		if !yield(e) {
			return false
		}
	}
	return true
}

// readSorted lists a directory of one block as if it had an index already.
func (f *FS) readSorted(d *inode, from uint64, yield func(DirEntry) bool) error {
	if f.dirBlocks(d) == 0 {
		return nil
	}
	b, err := f.dirBlock(d, 0, keyDirLeaf)
	if err != nil {
		return err
	}
	list, err := f.gather(nil, d, b, f.sb.DefaultHash, from)
	b.Release()
	if err != nil {
		return disk.At(err, d.ino, 0)
	}
	emit(list, yield)
	return nil
}

// readIndexed lists leaf by leaf in the order of the index.
func (f *FS) readIndexed(d *inode, from uint64, yield func(DirEntry) bool) error {
	var p htreePath
	if err := f.descend(d, &p, uint32(from>>32)<<1); err != nil {
		return err
	}
	defer p.release()
	version := p.frames[0].node.HashVersion()
	var list []DirEntry
	for range f.dirBlocks(d) {
		b, err := f.dirBlock(d, p.leaf(), keyDirLeaf)
		if err != nil {
			return err
		}
		list, err = f.gather(list, d, b, version, from)
		b.Release()
		if err != nil {
			return disk.At(err, d.ino, b.Block())
		}
		start, ok, err := f.next(d, &p)
		if err != nil {
			return err
		}
		if ok && start&1 != 0 {
			continue // equal hashes go on there: sort them together
		}
		if !emit(list, yield) || !ok {
			return nil
		}
		list = list[:0]
	}
	emit(list, yield)
	return nil
}
