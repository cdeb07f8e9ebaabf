package ext4

import (
	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/fold"
)

// foldedBytes is room for most folded names.
const foldedBytes = 256

// folds reports whether directory d tells names apart as package fold does. They are hashed
// likewise, and kept as they were given.
func (f *FS) folds(d *inode) bool {
	return d.d.Has(disk.FlagCasefold) && f.sb.Has(0, disk.IncompatCasefold, 0)
}

// checkEncoding refuses a name that directory d does not take because it is no text.
func (f *FS) checkEncoding(d *inode, name string) error {
	if f.sb.EncodingFlags&disk.EncodingStrict == 0 || !f.folds(d) {
		return nil
	}
	var buf [foldedBytes]byte
	if _, ok := fold.Name(buf[:0], name); !ok {
		return refuse(KindInvalid, "lookup: not UTF-8:", d.ino, name)
	}
	return nil
}

// sameFolded reports whether two names are one where case does not count.
func sameFolded(a, b string) bool {
	if a == b {
		return true
	}
	var buf [foldedBytes]byte
	folded, ok := fold.Name(buf[:0], a)
	return ok && fold.Same(folded, []byte(b))
}

// scanFolded looks for name in a leaf of a directory that folds.
func (f *FS) scanFolded(b *buffer.Buffer, name string) (entry, bool) {
	var buf [foldedBytes]byte
	folded, text := fold.Name(buf[:0], name)
	data, prev := b.Data, -1
	for off, end := 0, disk.DirentsEnd(f.sb); off+8 <= end; {
		e, err := disk.ReadDirent(data, off, end, f.sb)
		if err != nil {
			return entry{}, false // not possible: the leaf was checked
		}
		if e.Ino != 0 && (string(e.Name) == name || text && fold.Same(folded, e.Name)) {
			return entry{buf: b, off: off, prev: prev, ino: e.Ino, typ: e.Type}, true
		}
		prev = off
		off += e.RecLen
	}
	return entry{}, false
}

// checkFold refuses to change whether directory i folds: where the volume cannot, and where
// there are names already.
func (f *FS) checkFold(i *inode, flags uint32) error {
	if (i.d.Flags^flags)&disk.FlagCasefold == 0 {
		return nil
	}
	if !f.sb.Has(0, disk.IncompatCasefold, 0) {
		return refuse(KindNotSupported, "setattr: names without case:", i.ino, "")
	}
	if !i.d.IsDir() {
		return refuse(KindNotDir, "setattr: names without case:", i.ino, "")
	}
	ok, err := f.empty(i)
	if err == nil && !ok {
		err = refuse(KindNotEmpty, "setattr: names without case:", i.ino, "")
	}
	return err
}

// respell stores the one name that both names of a rename are for a directory that folds as
// the new one has it. Linux leaves it as it is.
func (r *renaming) respell(op *Op) error {
	f, d := r.f, r.oldDir
	if r.flags != 0 || r.newDir != d || !f.folds(d) || !sameFolded(r.oldName, r.newName) {
		return nil // two names of one inode
	}
	e, err := disk.ReadDirent(r.entry.buf.Data, r.entry.off, f.bs, f.sb)
	if err != nil || string(e.Name) == r.newName {
		return disk.At(err, d.ino, r.entry.buf.Block())
	}
	alone := *r
	alone.dst = nil
	if err := alone.check(); err != nil {
		return err
	}
	grown, err := alone.promise(op)
	if err != nil {
		return err
	}
	defer grown.release()
	t, err := f.begin(op, 2*creditsName+2*creditsInode, claimName)
	if err != nil {
		return err
	}
	t.promise = grown
	return t.end(func() error {
		if err := t.removeName(d, r.entry); err != nil {
			return err
		}
		if err := t.addName(d, r.newName, r.src.ino, disk.DirType(r.src.d.Mode)); err != nil {
			return err
		}
		d.d.Mtime, d.d.Ctime, r.src.d.Ctime = t.now, t.now, t.now
		if err := t.writeInode(r.src); err != nil {
			return err
		}
		return t.writeInode(d)
	}())
}
