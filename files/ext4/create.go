package ext4

import (
	"strings"

	"github.com/quintet-os/quintet/files/ext4/disk"
)

// checkName refuses what cannot be the name of a new entry.
func checkName(op string, dir uint32, name string) error {
	switch {
	case len(name) > disk.NameLenMax:
		return refuse(KindNameTooLong, op, dir, name)
	case name == "." || name == "..":
		return refuse(KindExist, op, dir, name)
	case name == "" || strings.ContainsAny(name, "/\x00"):
		return refuse(KindInvalid, op, dir, name)
	}
	return nil
}

// checkParent refuses to add to what is no directory, or may not be changed.
func (f *FS) checkParent(d *inode, op, name string) error {
	switch {
	case !d.d.IsDir():
		return refuse(KindNotDir, op, d.ino, name)
	case d.d.Links == 0:
		return refuse(KindNotExist, op, d.ino, name)
	case d.d.Has(disk.FlagImmutable):
		return refuse(KindPermission, op, d.ino, name)
	}
	return nil
}

// canAdd checks all that may prevent adding a name. It needs d.mu.
func (f *FS) canAdd(d *inode, op, name string, dir bool) error {
	if err := f.checkParent(d, op, name); err != nil {
		return err
	}
	e, err := f.find(d, name)
	if err == nil {
		e.buf.Release()
		return refuse(KindExist, op, d.ino, name)
	}
	if KindOf(err) != KindNotExist {
		return err
	}
	return f.canGrow(d, op, name, dir)
}

// canGrow checks the bounds of a directory's links and index.
func (f *FS) canGrow(d *inode, op, name string, dir bool) error {
	if dir && d.d.Links >= disk.LinksMax && !(f.sb.Has(0, 0, disk.ROCompatDirNlink) && f.indexed(d)) {
		return refuse(KindTooManyLinks, op, d.ino, name)
	}
	if err := f.canMap(d, op); err != nil {
		return err
	}
	full, err := f.indexFull(d, name)
	if err == nil && full {
		err = refuse(KindNoSpace, op+": index is full", d.ino, name)
	}
	return err
}

// plenty is how many blocks must be available beyond what is kept for others for nobody to
// look whether a directory has to grow.
const plenty = 1000

// claimForName is how many blocks adding a name to directory d may allocate. It needs d.mu.
// KindNoSpace when the directory has to grow and op may not take a block for that.
func (f *FS) claimForName(op *Op, d *inode, name string) (int, error) {
	if f.available.Load() > f.floor(op)+plenty {
		return claimName, nil
	}
	fits, err := f.nameFits(d, name)
	if err != nil || fits {
		return 0, err
	}
	return claimName, f.mayTake(op, 1)
}

// addLink and dropLink count links; a directory with too many subdirectories to
// count has 1, for good.
func addLink(d *disk.Inode) {
	d.Links++
	if d.IsDir() && (d.Links >= disk.LinksMax || d.Links == 2) {
		d.Links = 1
	}
}

func dropLink(d *disk.Inode) {
	if !d.IsDir() || d.Links > 2 {
		d.Links--
	}
}

// Create makes an empty regular file; mode is its permissions, less Op.Umask or
// as the directory's default access control list has it. It fails with
// KindExist when the name is taken.
func (f *FS) Create(op *Op, dir uint32, name string, mode uint16) (Attr, error) {
	return f.make(op, "create", dir, name, disk.ModeRegular|mode&^disk.ModeType, 0, func(t *tx, i *inode) error {
		f.initMap(i)
		return nil
	})
}

// Mkdir makes an empty directory.
func (f *FS) Mkdir(op *Op, dir uint32, name string, mode uint16) (Attr, error) {
	return f.make(op, "mkdir", dir, name, disk.ModeDir|mode&^disk.ModeType, 1, func(t *tx, i *inode) error {
		f.initMap(i)
		i.d.Links = 2
		return t.initDir(i, dir)
	})
}

// Symlink makes a symbolic link. It fails with KindNameTooLong when the target
// does not fit a block.
func (f *FS) Symlink(op *Op, dir uint32, name, target string) (Attr, error) {
	if target == "" || strings.IndexByte(target, 0) >= 0 {
		return Attr{}, refuse(KindInvalid, "symlink", dir, name)
	}
	if len(target) >= f.bs {
		return Attr{}, refuse(KindNameTooLong, "symlink", dir, name)
	}
	blocks := 0
	if len(target) >= len(disk.Inode{}.Block) {
		blocks = 1
	}
	return f.make(op, "symlink", dir, name, disk.ModeSymlink|0o777, blocks, func(t *tx, i *inode) error {
		if len(target) < len(i.d.Block) {
			copy(i.d.Block[:], target)
			i.d.Size = uint64(len(target))
			return nil
		}
		f.initMap(i)
		b, _, err := t.appendDirBlock(i, 0)
		if err != nil {
			return err
		}
		defer b.Release()
		copy(b.Data, target)
		i.d.Size = uint64(len(target))
		return nil
	})
}

// Mknod makes a device node, pipe or socket, by the type in mode.
func (f *FS) Mknod(op *Op, dir uint32, name string, mode uint16, major, minor uint32) (Attr, error) {
	switch mode & disk.ModeType {
	case disk.ModeChar, disk.ModeBlock, disk.ModeFIFO, disk.ModeSocket:
	case disk.ModeRegular:
		return f.Create(op, dir, name, mode)
	default:
		return Attr{}, refuse(KindInvalid, "mknod", dir, name)
	}
	return f.make(op, "mknod", dir, name, mode, 0, func(t *tx, i *inode) error {
		if typ := i.d.Type(); typ == disk.ModeChar || typ == disk.ModeBlock {
			i.d.SetDevice(major, minor)
		}
		return nil
	})
}

// make allocates an inode, has it initialised, and names it.
func (f *FS) make(op *Op, what string, dir uint32, name string, mode uint16, blocks int, init func(*tx, *inode) error) (Attr, error) {
	if err := checkName(what, dir, name); err != nil {
		return Attr{}, err
	}
	if err := f.writable(); err != nil {
		return Attr{}, err
	}
	d, unlock, err := f.lockOne(dir)
	if err != nil {
		return Attr{}, err
	}
	defer unlock()
	isDir := mode&disk.ModeType == disk.ModeDir
	if err := f.canAdd(d, what, name, isDir); err != nil {
		return Attr{}, err
	}
	heritage, err := f.inherit(op, d, mode)
	if err != nil {
		return Attr{}, err
	}
	inInode, inBlock, ok := f.placeXattrs(f.extraIsize(), heritage.xattrs)
	if !ok {
		return Attr{}, refuse(KindNoSpace, what+": attributes inherited", dir, name)
	}
	if len(inBlock) > 0 {
		blocks++
	}
	ids := f.heirOf(op, d)
	promise, err := f.promise(op, ids, usage{int64(blocks) << f.shift, 1})
	if err != nil {
		return Attr{}, err
	}
	defer promise.release()
	grown, err := f.promiseName(op, d, name)
	if err != nil {
		return Attr{}, err
	}
	defer grown.release()
	fresh, err := f.newIDs(ids)
	if err != nil {
		return Attr{}, err
	}
	if err := f.mayTake(op, int64(blocks)); err != nil {
		return Attr{}, err
	}
	forName, err := f.claimForName(op, d, name)
	if err != nil {
		return Attr{}, err
	}
	t, i, err := f.beginNew(op, d, heritage.mode, fresh, forName+blocks)
	if t == nil {
		return Attr{}, err
	}
	if i != nil {
		defer func() { i.mu.Unlock(); f.put(i) }()
	}
	t.promise = promise
	if err == nil {
		err = func() error {
			if err := init(t, i); err != nil {
				return err
			}
			if len(heritage.xattrs) > 0 {
				if err := t.storeXattrs(i, inInode, inBlock); err != nil {
					return err
				}
			}
			if err := t.addName(d, name, i.ino, disk.DirType(mode)); err != nil {
				return err
			}
			if err := t.writeInode(i); err != nil {
				return err
			}
			if isDir {
				addLink(&d.d)
			}
			d.d.Mtime, d.d.Ctime = t.now, t.now
			return t.writeInode(d)
		}()
	}
	if err := t.end(err); err != nil {
		return Attr{}, err
	}
	return f.attr(i), nil
}

// beginNew starts the transaction that makes an inode in directory d. When every free
// inode waits for the commit that frees it, that is done first. Without a transaction
// nothing has been changed; with one, an error is for its end. fresh is the number of ids
// not counted before.
func (f *FS) beginNew(op *Op, d *inode, mode uint16, fresh, blocks int) (*tx, *inode, error) {
	for again := false; ; again = true {
		if err := op.rewind(f); err != nil {
			return nil, nil, err
		}
		t, err := f.begin(op, creditsName+2*creditsInode+creditsXattrs+fresh*creditsNewID, blocks+fresh*f.claimNewID())
		if err != nil {
			return nil, nil, err
		}
		i, err := t.newInode(d, mode)
		if i != nil || again || op.replaying() || KindOf(err) != KindNoSpace || f.freeInodes.Load() == 0 {
			return t, i, err
		}
		_ = t.end(err) // the same error, of a transaction without changes
		if err := f.journal.CommitRunning(); err != nil {
			return nil, nil, err
		}
	}
}

// Link gives inode ino another name.
func (f *FS) Link(op *Op, ino, dir uint32, name string) error {
	if err := checkName("link", dir, name); err != nil {
		return err
	}
	if err := f.writable(); err != nil {
		return err
	}
	d, err := f.inode(dir)
	if err != nil {
		return err
	}
	defer f.put(d)
	i, err := f.inode(ino)
	if err != nil {
		return err
	}
	defer f.put(i)
	unlock, err := f.lock(d, i)
	if err != nil {
		return err
	}
	defer unlock()
	if err := f.canAdd(d, "link", name, false); err != nil {
		return err
	}
	switch {
	case !f.sameProject(d, i):
		return refuse(KindCrossProject, "link", ino, name)
	case i.d.IsDir() || i.d.Flags&(disk.FlagImmutable|disk.FlagAppend) != 0:
		return refuse(KindPermission, "link", ino, name)
	case i.d.Links == 0:
		return refuse(KindNotExist, "link", ino, name)
	case i.d.Links >= disk.LinksMax:
		return refuse(KindTooManyLinks, "link", ino, name)
	}
	if err := op.rewind(f); err != nil {
		return err
	}
	grown, err := f.promiseName(op, d, name)
	if err != nil {
		return err
	}
	defer grown.release()
	forName, err := f.claimForName(op, d, name)
	if err != nil {
		return err
	}
	t, err := f.begin(op, creditsName+2*creditsInode, forName)
	if err != nil {
		return err
	}
	t.promise = grown
	return t.end(func() error {
		if err := t.addName(d, name, ino, disk.DirType(i.d.Mode)); err != nil {
			return err
		}
		addLink(&i.d)
		i.d.Ctime, d.d.Mtime, d.d.Ctime = t.now, t.now, t.now
		if err := t.writeInode(i); err != nil {
			return err
		}
		return t.writeInode(d)
	}())
}
