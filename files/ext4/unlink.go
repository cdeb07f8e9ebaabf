package ext4

import (
	"github.com/quintet-os/quintet/files/ext4/disk"
)

// lookupTriesMax bounds how often a name is looked up again because it changed
// between looking and locking.
const lookupTriesMax = 1000

// Unlink removes a name that is no directory's. The inode goes with its last
// name, or with the last Release of it.
func (f *FS) Unlink(op *Op, dir uint32, name string) error {
	return f.remove(op, "unlink", dir, name, false)
}

// Rmdir removes an empty directory.
func (f *FS) Rmdir(op *Op, dir uint32, name string) error {
	return f.remove(op, "rmdir", dir, name, true)
}

func (f *FS) remove(op *Op, what string, dir uint32, name string, isDir bool) error {
	if name == "." || name == ".." || name == "" {
		return refuse(KindInvalid, what, dir, name)
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
	d, err := f.inode(dir)
	if err != nil {
		return err
	}
	defer f.put(d)
	i, e, unlock, err := f.lockChild(d, name)
	if err != nil {
		return err
	}
	defer func() { e.buf.Release(); unlock(); f.put(i) }()
	if err := f.canRemove(d, i, what, name, isDir); err != nil {
		return err
	}
	t, err := f.begin(op, creditsName+creditsRemove+2*creditsInode, 0)
	if err != nil {
		return err
	}
	return t.end(func() error {
		if err := t.removeName(d, e); err != nil {
			return err
		}
		if isDir {
			dropLink(&d.d)
		}
		d.d.Mtime, d.d.Ctime = t.now, t.now
		if err := t.writeInode(d); err != nil {
			return err
		}
		return t.unlinked(i)
	}())
}

// canRemove checks what may prevent removing inode i, called name, from d.
func (f *FS) canRemove(d, i *inode, what, name string, isDir bool) error {
	if err := f.checkParent(d, what, name); err != nil {
		return err
	}
	switch {
	case isDir && !i.d.IsDir():
		return refuse(KindNotDir, what, d.ino, name)
	case !isDir && i.d.IsDir():
		return refuse(KindIsDir, what, d.ino, name)
	case d.d.Has(disk.FlagAppend) || i.d.Flags&(disk.FlagImmutable|disk.FlagAppend) != 0:
		return refuse(KindPermission, what, d.ino, name)
	}
	if !isDir {
		return nil
	}
	ok, err := f.empty(i)
	if err == nil && !ok {
		err = refuse(KindNotEmpty, what, d.ino, name)
	}
	return err
}

// unlinked accounts for a name of i that is gone: the last one frees i, unless
// it is held. A directory's only name is always its last.
func (t *tx) unlinked(i *inode) error {
	i.d.Ctime = t.now
	if i.d.IsDir() {
		i.d.Links = 0
	} else if i.d.Links > 0 {
		i.d.Links--
	}
	if i.d.Links > 0 {
		return t.writeInode(i)
	}
	held := t.f.held(i)
	if d := t.op.Decision; d != nil && t.op.Replay {
		held = d.Held // who held it then need not hold it yet
	} else if d != nil {
		d.Held, d.Ino = held, i.ino
	}
	if held {
		if err := t.addOrphan(i); err != nil {
			return err
		}
		return t.writeInode(i)
	}
	t.f.dropSpare(i)
	return t.dispose(i)
}

// lockChild locks directory d and the inode that name stands for in it, which
// is referenced. The entry's buffer is pinned.
func (f *FS) lockChild(d *inode, name string) (*inode, entry, func(), error) {
	for range lookupTriesMax {
		d.mu.RLock()
		found, err := f.find(d, name)
		seen := d.names
		d.mu.RUnlock()
		if err != nil {
			return nil, entry{}, nil, err
		}
		ino := found.ino
		if ino == d.ino {
			found.buf.Release()
			return nil, entry{}, nil, &disk.CorruptError{Structure: "directory", Ino: d.ino, Detail: "contains itself"}
		}
		i, err := f.inode(ino)
		if err != nil {
			found.buf.Release()
			if KindOf(err) != KindStale {
				return nil, entry{}, nil, err
			}
		}
		stale := err
		if i != nil {
			unlock, err := f.lock(d, i)
			if err == nil && d.names == seen {
				return i, found, unlock, nil
			}
			found.buf.Release()
			if err == nil {
				e, err := f.find(d, name)
				if err == nil && e.ino == ino {
					return i, e, unlock, nil
				}
				if err == nil {
					e.buf.Release()
				}
				unlock()
			}
			f.put(i)
			if d.state.Load() != inodeReady {
				return nil, entry{}, nil, refuse(KindStale, "lookup", d.ino, name)
			}
			continue
		}
		// The inode is free: was the name removed meanwhile, or is it damage?
		d.mu.RLock()
		again, err := f.lookup(d, name)
		d.mu.RUnlock()
		if err == nil && again == ino {
			return nil, entry{}, nil, &disk.CorruptError{Structure: "directory", Ino: d.ino, Detail: "entry " + name + " leads to a free inode: " + stale.Error()}
		}
	}
	return nil, entry{}, nil, refuse(KindStale, "lookup", d.ino, name)
}
