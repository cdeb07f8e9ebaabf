package ext4

import (
	"github.com/quintet-os/quintet/files/ext4/disk"
)

// inode makes an inode what a fast commit says it is; it is new if it is not in use.
func (r *fastReplay) inode(tag disk.FastTag) error {
	f := r.f
	i, err := f.inode(tag.Ino)
	fresh := KindOf(err) == KindStale
	if err != nil && !fresh {
		return err
	}
	slot := make([]byte, f.sb.InodeSize)
	var old disk.Inode
	if !fresh {
		f.put(i)
		unlock, err := f.lock(i)
		if err != nil {
			return err
		}
		defer unlock()
		old = i.d
		b, off, err := f.inodeSlot(tag.Ino)
		if err != nil {
			return err
		}
		copy(slot, b.Data[off:])
		b.Release()
	}
	disk.PatchInode(slot, tag.Raw, f.sb, tag.Ino)
	d, err := disk.DecodeInode(slot, f.sb, tag.Ino)
	switch {
	case err != nil:
		return err
	case d.Links == 0 && fresh:
		return nil // it had no name left
	case d.Links == 0:
		return r.evict(i)
	case disk.DirType(d.Mode) == disk.TypeUnknown || !fresh && d.Type() != old.Type():
		return r.damaged(tag, "is of another type")
	case fresh:
		return r.create(tag, slot, d)
	}
	ids := owners{d.UID, d.GID, f.project(&inode{d: *d})}
	n, err := f.newIDs(ids)
	if err != nil {
		return err
	}
	t, err := f.begin(r.op, creditsInode+n*creditsNewID, n*f.claimNewID())
	if err != nil {
		return err
	}
	t.move(i, ids)
	d.Flags = d.Flags&^mapFlags | old.Flags&mapFlags
	d.Blocks, d.Block, d.Dtime, d.FileACL = old.Blocks, old.Block, old.Dtime, old.FileACL
	if d.IsDir() {
		d.Size, d.Links = old.Size, old.Links // these follow from its names
	}
	i.d = *d
	return t.end(func() error {
		// With what the inode holds beside its fields.
		if err := t.changeSlot(tag.Ino, func(to []byte) { copy(to, slot) }); err != nil {
			return err
		}
		return t.writeInode(i)
	}())
}

// mapFlags say what the map of an inode's blocks is, and its count of them.
const mapFlags = disk.FlagExtents | disk.FlagHugeFile | disk.FlagIndex

func (r *fastReplay) evict(i *inode) error {
	t, err := r.f.begin(r.op, creditsInode+creditsRemove, 0)
	if err == nil {
		err = t.end(t.dispose(i))
	}
	if err != nil {
		return err
	}
	return r.commit()
}

// create takes an inode that is free, with an empty map.
func (r *fastReplay) create(tag disk.FastTag, slot []byte, d *disk.Inode) error {
	f := r.f
	i := &inode{ino: tag.Ino, d: *d}
	n, err := f.newIDs(f.owners(i))
	if err != nil {
		return err
	}
	t, err := f.begin(r.op, 2*creditsInode+n*creditsNewID, n*f.claimNewID())
	if err != nil {
		return err
	}
	return t.end(func() error {
		group, index := (tag.Ino-1)/f.sb.InodesPerGroup, int((tag.Ino-1)%f.sb.InodesPerGroup)
		if got, err := t.takeInode(group, index, true, d.Mode); err != nil || got == 0 {
			if err == nil {
				err = r.damaged(tag, "is in use and was never written")
			}
			return err
		}
		i.d.Blocks, i.d.FileACL, i.d.Dtime = 0, 0, 0
		i.d.Flags &^= disk.FlagIndex | disk.FlagHugeFile
		switch {
		case i.d.Has(disk.FlagExtents):
			disk.InitExtentNode(i.d.Block[:], 0, true)
		case i.d.IsRegular() || i.d.IsDir():
			i.d.Block = [60]byte{}
		}
		if i.d.IsDir() {
			i.d.Size = 0 // until its first block is made, with its name
		}
		t.count(i, 0, 1)
		if err := t.changeSlot(tag.Ino, func(to []byte) { copy(to, slot) }); err != nil {
			return err
		}
		return t.writeInode(i)
	}())
}

// addRange makes blocks part of a file, instead of what it has there.
func (r *fastReplay) addRange(i *inode, tag disk.FastTag) error {
	f, x := r.f, tag.Extent
	if i.d.IsDir() {
		return nil // what its blocks hold was not logged: they are made anew
	}
	if !i.d.HasBlocks(f.bs) && !i.d.IsSymlink() {
		return r.damaged(tag, "gets blocks, which it cannot have")
	}
	for at := uint64(x.Logical); at < x.End(); {
		m, err := f.mapBlock(i, uint32(at))
		if err != nil {
			return err
		}
		n := uint32(min(uint64(m.Len), x.End()-at))
		physical := x.Physical + at - uint64(x.Logical)
		switch {
		case m.hole():
			n, err = r.addBlocks(i, disk.Extent{Logical: uint32(at), Len: n, Physical: physical, Unwritten: x.Unwritten})
		case m.Physical == physical && m.Unwritten == x.Unwritten:
		case m.Physical == physical && m.Unwritten:
			err = r.change(i, func(t *tx) error { return t.setWritten(i, uint32(at), at+uint64(n)) })
		default:
			if err = r.remove(i, uint32(at), at+uint64(n)); err == nil {
				err = r.commit()
			}
			if err == nil {
				err = r.hold(tag)
			}
			n = 0 // it is a hole now
		}
		if err != nil {
			return err
		}
		at += uint64(n)
	}
	return nil
}

func (r *fastReplay) addBlocks(i *inode, x disk.Extent) (uint32, error) {
	f := r.f
	_, at := f.sb.GroupOf(x.Physical)
	x.Len = min(x.Len, f.sb.BlocksPerGroup-at, f.runMax(i, x.Logical))
	return x.Len, r.change(i, func(t *tx) error {
		if err := t.use(span{x.Physical, x.Len}); err != nil {
			return err
		}
		t.addBlocks(i, int64(x.Len))
		if i.d.Has(disk.FlagExtents) {
			return t.insertExtent(i, x)
		}
		return t.mapRun(i, x.Logical, x.Len, x.Physical)
	})
}

// change makes a change of the map of i.
func (r *fastReplay) change(i *inode, do func(*tx) error) error {
	t, err := r.f.begin(r.op, creditsInode+2*creditsExtent, 2*claimExtent)
	if err != nil {
		return err
	}
	return t.end(func() error {
		if err := do(t); err != nil {
			return err
		}
		return t.writeInode(i)
	}())
}

// remove frees the blocks of a range.
func (r *fastReplay) remove(i *inode, from uint32, to uint64) error {
	if !i.d.HasBlocks(r.f.bs) || i.d.IsDir() {
		return nil
	}
	for at := uint64(from); at < to; {
		t, err := r.f.begin(r.op, creditsInode+creditsRemove, claimExtent)
		if err != nil {
			return err
		}
		err = t.end(func() (err error) {
			if at, err = t.removeBlocks(i, uint32(at), to); err != nil {
				return err
			}
			return t.writeInode(i)
		}())
		if err != nil {
			return err
		}
	}
	return nil
}

// unlink removes a name, and what has no other.
func (r *fastReplay) unlink(tag disk.FastTag) error {
	err := r.named(tag, func(d, i *inode) error {
		e, err := r.f.find(d, tag.Name)
		if KindOf(err) == KindNotExist {
			return nil
		}
		if err != nil {
			return err
		}
		defer e.buf.Release()
		if e.ino != tag.Ino {
			return nil // it was given to another since
		}
		t, err := r.f.begin(r.op, creditsName+creditsRemove+2*creditsInode, 0)
		if err != nil {
			return err
		}
		return t.end(func() error {
			if err := t.removeName(d, e); err != nil {
				return err
			}
			if i.d.IsDir() {
				dropLink(&d.d)
			}
			d.d.Mtime, d.d.Ctime = t.now, t.now
			if err := t.writeInode(d); err != nil {
				return err
			}
			return t.unlinked(i)
		}())
	})
	if err != nil {
		return err
	}
	return r.commit()
}

// link gives an inode a name, its first or another. Whatever had the name loses it.
func (r *fastReplay) link(tag disk.FastTag) error {
	return r.named(tag, func(d, i *inode) error {
		f := r.f
		e, err := f.find(d, tag.Name)
		there := err == nil
		if there {
			defer e.buf.Release()
			if e.ino == i.ino {
				return nil
			}
		} else if KindOf(err) != KindNotExist {
			return err
		}
		if i.d.IsDir() && (tag.Kind == disk.FastLink || i.d.Size > 0) {
			return r.damaged(tag, "is a directory that has a name")
		}
		if err := f.canGrow(d, "replay", tag.Name, i.d.IsDir()); err != nil {
			return err
		}
		first := tag.Kind == disk.FastCreate && i.d.IsDir() && i.d.Size == 0
		t, err := f.begin(r.op, creditsName+3*creditsInode, claimName+1)
		if err != nil {
			return err
		}
		return t.end(func() error {
			if there {
				err = t.setName(d, e, i.ino, disk.DirType(i.d.Mode))
			} else {
				err = t.addName(d, tag.Name, i.ino, disk.DirType(i.d.Mode))
			}
			if err == nil && first {
				i.d.Links = 2
				err = t.initDir(i, d.ino)
			}
			if err != nil {
				return err
			}
			switch {
			case i.d.IsDir():
				addLink(&d.d)
			case tag.Kind == disk.FastLink:
				addLink(&i.d)
			}
			d.d.Mtime, d.d.Ctime = t.now, t.now
			if err := t.writeInode(i); err != nil {
				return err
			}
			return t.writeInode(d)
		}())
	})
}

// named calls do with a directory and an inode, locked; not if one is not there any more.
func (r *fastReplay) named(tag disk.FastTag, do func(d, i *inode) error) error {
	f := r.f
	var list [2]*inode
	for k, ino := range []uint32{tag.Parent, tag.Ino} {
		i, err := f.inode(ino)
		if KindOf(err) == KindStale {
			return nil
		}
		if err != nil {
			return err
		}
		defer f.put(i)
		list[k] = i
	}
	unlock, err := f.lock(list[0], list[1])
	if err != nil {
		return err
	}
	defer unlock()
	if !list[0].d.IsDir() {
		return r.damaged(tag, "is named in what is no directory")
	}
	return do(list[0], list[1])
}
