package ext4

import (
	"github.com/quintet-os/quintet/files/ext4/disk"
)

// RenameFlags change what Rename does.
type RenameFlags uint8

// Flags of Rename.
const (
	NoReplace RenameFlags = 1 << iota // fail with KindExist when the new name is taken
	Exchange                          // both names exist and are exchanged
)

// ancestorsMax bounds the directories above one another.
const ancestorsMax = 1 << 20

// renaming is a rename with all it works on locked.
type renaming struct {
	f                *FS
	flags            RenameFlags
	oldDir, newDir   *inode
	oldName, newName string
	src, dst         *inode // dst is nil when the new name is free
	entry            entry  // the old name
	oldSeen, newSeen uint64 // names of the directories when they were looked at
	unlock           func()
}

// Rename moves oldName of oldDir to newName of newDir, replacing what is there
// if it is of the same kind, or an empty directory, unless flags say otherwise.
// Two names of one inode stay as they are; but one that differs in case only, where that does
// not count, is respelled.
func (f *FS) Rename(op *Op, oldDir uint32, oldName string, newDir uint32, newName string, flags RenameFlags) error {
	for _, n := range []string{oldName, newName} {
		if n == "." || n == ".." || n == "" {
			return refuse(KindInvalid, "rename", oldDir, n)
		}
	}
	if err := checkName("rename", newDir, newName); err != nil {
		return err
	}
	if flags > Exchange {
		return refuse(KindInvalid, "rename", oldDir, oldName)
	}
	if err := f.writable(); err != nil {
		return err
	}
	if err := op.rewind(f); err != nil {
		return err
	}
	if op.from() > 0 {
		return f.goOn(op)
	}
	if oldDir != newDir {
		f.renameMu.Lock()
		defer f.renameMu.Unlock()
	}
	od, err := f.inode(oldDir)
	if err != nil {
		return err
	}
	defer f.put(od)
	nd, err := f.inode(newDir)
	if err != nil {
		return err
	}
	defer f.put(nd)
	r := &renaming{f: f, flags: flags, oldDir: od, newDir: nd, oldName: oldName, newName: newName}
	if err := r.lock(); err != nil {
		return err
	}
	defer r.release()
	if r.src == r.dst {
		return r.respell(op)
	}
	if err := r.check(); err != nil {
		return err
	}
	grown, err := r.promise(op)
	if err != nil {
		return err
	}
	defer grown.release()
	forName := 0
	if r.dst == nil {
		if forName, err = f.claimForName(op, r.newDir, r.newName); err != nil {
			return err
		}
	}
	t, err := f.begin(op, 2*creditsName+creditsRemove+4*creditsInode, forName)
	if err != nil {
		return err
	}
	t.promise = grown
	return t.end(r.apply(t))
}

// lock finds both inodes and locks everything, in the order of the numbers.
func (r *renaming) lock() error {
	f := r.f
	for range lookupTriesMax {
		dst, err := r.lookup()
		if err != nil {
			return err
		}
		src := r.entry.ino
		if err := r.refer(src, dst); err != nil {
			r.entry.buf.Release()
			if KindOf(err) == KindStale && r.changed() {
				continue // it was removed after it was found
			}
			return err
		}
		unlock, err := f.lock(r.oldDir, r.newDir, r.src, r.dst)
		if err == nil {
			r.unlock = unlock
			if r.verify(src, dst) {
				return nil
			}
			unlock()
		} else {
			r.entry.buf.Release()
		}
		r.put()
		if r.oldDir.state.Load() != inodeReady || r.newDir.state.Load() != inodeReady {
			return refuse(KindStale, "rename", r.oldDir.ino, r.oldName)
		}
	}
	return refuse(KindStale, "rename", r.oldDir.ino, r.oldName)
}

// changed reports whether entries of a directory have changed since lookup.
func (r *renaming) changed() bool {
	r.oldDir.mu.RLock()
	changed := r.oldDir.names != r.oldSeen
	r.oldDir.mu.RUnlock()
	r.newDir.mu.RLock()
	defer r.newDir.mu.RUnlock()
	return changed || r.newDir.names != r.newSeen
}

// refer takes references to both inodes, unless what is known of them already
// forbids the rename.
func (r *renaming) refer(src, dst uint32) (err error) {
	switch {
	case r.flags&NoReplace != 0 && dst != 0:
		return refuse(KindExist, "rename", r.newDir.ino, r.newName)
	case r.flags&Exchange != 0 && dst == 0:
		return refuse(KindNotExist, "rename", r.newDir.ino, r.newName)
	}
	if err := r.checkLoop(src, dst); err != nil {
		return err
	}
	if r.src, err = r.f.inode(src); err != nil {
		return err
	}
	r.dst = nil
	if dst != 0 {
		if r.dst, err = r.f.inode(dst); err != nil {
			r.f.put(r.src)
		}
	}
	return err
}

func (r *renaming) put() {
	r.f.put(r.src)
	if r.dst != nil {
		r.f.put(r.dst)
	}
}

func (r *renaming) release() {
	r.entry.buf.Release()
	r.unlock()
	r.put()
}

// lookup finds the old name's entry and the inode of the new name, each
// directory locked for a moment.
func (r *renaming) lookup() (dst uint32, err error) {
	r.oldDir.mu.RLock()
	r.entry, err = r.f.find(r.oldDir, r.oldName)
	r.oldSeen = r.oldDir.names
	r.oldDir.mu.RUnlock()
	if err != nil {
		return 0, err
	}
	r.newDir.mu.RLock()
	dst, err = r.f.lookup(r.newDir, r.newName)
	r.newSeen = r.newDir.names
	r.newDir.mu.RUnlock()
	if KindOf(err) == KindNotExist {
		return 0, nil
	}
	if err != nil {
		r.entry.buf.Release()
	}
	return dst, err
}

// verify reports whether, with everything locked, the names still lead to the
// same inodes, and keeps the old name's entry.
func (r *renaming) verify(src, dst uint32) bool {
	if r.oldDir.names == r.oldSeen && r.newDir.names == r.newSeen {
		return true
	}
	r.entry.buf.Release()
	e, err := r.f.find(r.oldDir, r.oldName)
	if err != nil {
		return false
	}
	other, err := r.f.lookup(r.newDir, r.newName)
	if KindOf(err) == KindNotExist {
		other, err = 0, nil
	}
	if err != nil || e.ino != src || other != dst {
		e.buf.Release()
		return false
	}
	r.entry = e
	return true
}

// checkLoop refuses to move a directory into itself, and to replace one that
// has the other below it. The tree does not change meanwhile: renameMu is held
// if the directories differ.
func (r *renaming) checkLoop(src, dst uint32) error {
	if r.oldDir == r.newDir {
		return nil
	}
	if below, err := r.f.isBelow(r.newDir.ino, src); err != nil || below {
		if err == nil {
			err = refuse(KindInvalid, "rename", r.oldDir.ino, r.oldName)
		}
		return err
	}
	if dst == 0 {
		return nil
	}
	below, err := r.f.isBelow(r.oldDir.ino, dst)
	if err == nil && below {
		kind := KindNotEmpty
		if r.flags&Exchange != 0 {
			kind = KindInvalid
		}
		err = refuse(kind, "rename", r.newDir.ino, r.newName)
	}
	return err
}

// isBelow reports whether directory ino is top or lies below it.
func (f *FS) isBelow(ino, top uint32) (bool, error) {
	for range ancestorsMax {
		if ino == top {
			return true, nil
		}
		if ino == Root {
			return false, nil
		}
		up, err := f.Lookup(ino, "..")
		if err != nil {
			return false, err
		}
		ino = up
	}
	return false, disk.Corrupt("directory tree", "does not lead to the root from inode %d", ino)
}

// check refuses what must not be done. Everything is locked.
func (r *renaming) check() error {
	f := r.f
	exchange := r.flags&Exchange != 0
	for _, d := range []*inode{r.oldDir, r.newDir} {
		if err := f.checkParent(d, "rename", r.newName); err != nil {
			return err
		}
	}
	const fixed = disk.FlagImmutable | disk.FlagAppend
	if r.src.d.Flags&fixed != 0 || r.oldDir.d.Has(disk.FlagAppend) {
		return refuse(KindPermission, "rename", r.oldDir.ino, r.oldName)
	}
	switch {
	case r.dst != nil && !exchange && r.src.d.IsDir() && !r.dst.d.IsDir():
		return refuse(KindNotDir, "rename", r.newDir.ino, r.newName)
	case r.dst != nil && !exchange && !r.src.d.IsDir() && r.dst.d.IsDir():
		return refuse(KindIsDir, "rename", r.newDir.ino, r.newName)
	case !f.sameProject(r.newDir, r.src), exchange && !f.sameProject(r.oldDir, r.dst):
		return refuse(KindCrossProject, "rename", r.newDir.ino, r.newName)
	case exchange && r.dst.d.Flags&fixed != 0:
		return refuse(KindPermission, "rename", r.newDir.ino, r.newName)
	case exchange:
		return r.checkLinks()
	case r.dst == nil:
		return f.canGrow(r.newDir, "rename", r.newName, r.src.d.IsDir() && r.oldDir != r.newDir)
	}
	return f.canRemove(r.newDir, r.dst, "rename", r.newName, r.dst.d.IsDir())
}

// promise asks the limits of the new directory for the block that a new name may need.
func (r *renaming) promise(op *Op) (*promise, error) {
	if r.dst != nil {
		return nil, nil
	}
	return r.f.promiseName(op, r.newDir, r.newName)
}

// checkLinks refuses an exchange that gives a directory too many subdirectories.
func (r *renaming) checkLinks() error {
	if r.oldDir == r.newDir || r.src.d.IsDir() == r.dst.d.IsDir() {
		return nil
	}
	gains := r.newDir
	if r.dst.d.IsDir() {
		gains = r.oldDir
	}
	return r.f.canGrow(gains, "rename", r.newName, true)
}

// apply makes the changes.
func (r *renaming) apply(t *tx) error {
	exchange := r.flags&Exchange != 0
	if r.dst == nil {
		if err := t.addName(r.newDir, r.newName, r.src.ino, disk.DirType(r.src.d.Mode)); err != nil {
			return err
		}
	} else if err := r.relead(t, r.newDir, r.newName, r.src); err != nil {
		return err
	}
	if exchange {
		if err := r.relead(t, r.oldDir, r.oldName, r.dst); err != nil {
			return err
		}
	} else {
		if err := r.removeOld(t); err != nil {
			return err
		}
	}
	if err := r.moved(t, r.src, r.oldDir, r.newDir); err != nil {
		return err
	}
	if exchange {
		if err := r.moved(t, r.dst, r.newDir, r.oldDir); err != nil {
			return err
		}
	} else if r.dst != nil && r.dst.d.IsDir() {
		dropLink(&r.newDir.d)
	}
	for k, i := range []*inode{r.newDir, r.oldDir} {
		if k == 1 && i == r.newDir {
			break
		}
		i.d.Mtime, i.d.Ctime = t.now, t.now
		if err := t.writeInode(i); err != nil {
			return err
		}
	}
	if r.dst != nil && !exchange {
		return t.unlinked(r.dst)
	}
	return nil
}

// removeOld removes the old name, which may have moved when the new one was
// added.
func (r *renaming) removeOld(t *tx) error {
	if r.oldDir != r.newDir || r.dst != nil {
		return t.removeName(r.oldDir, r.entry)
	}
	if e, ok := r.f.scan(r.oldDir, r.entry.buf, r.oldName); ok {
		return t.removeName(r.oldDir, e) // pinned by r.entry
	}
	e, err := r.f.find(r.oldDir, r.oldName)
	if err != nil {
		return err
	}
	defer e.buf.Release()
	return t.removeName(r.oldDir, e)
}

// relead makes the name in d lead to i.
func (r *renaming) relead(t *tx, d *inode, name string, i *inode) error {
	e, err := r.f.find(d, name)
	if err != nil {
		return err
	}
	defer e.buf.Release()
	return t.setName(d, e, i.ino, disk.DirType(i.d.Mode))
}

// moved accounts for i having moved between directories: its time, and for a
// directory its ".." and the links of both parents.
func (r *renaming) moved(t *tx, i, from, to *inode) error {
	i.d.Ctime = t.now
	if i.d.IsDir() && from != to {
		dropLink(&from.d)
		addLink(&to.d)
		e, err := r.f.find(i, "..")
		if err != nil {
			return err
		}
		err = t.setName(i, e, to.ino, disk.TypeDir)
		e.buf.Release()
		if err != nil {
			return err
		}
	}
	return t.writeInode(i)
}
