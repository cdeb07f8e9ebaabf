package ext4

import (
	"time"

	"github.com/quintet-os/quintet/files/ext4/disk"
)

// SetAttr is what Setattr changes: the fields that are not nil.
type SetAttr struct {
	Mode         *uint16 // permissions; the type stays, and an access control list follows
	UID, GID     *uint32 // other than a directory loses the rights that it lent, but for what Mode says
	Atime, Mtime *time.Time
	Size         *int64
	Flags        *uint32 // immutable and append-only
}

// Setattr changes attributes of an inode.
func (f *FS) Setattr(op *Op, ino uint32, a SetAttr) error {
	if a.Size != nil {
		if err := f.Truncate(op, ino, *a.Size); err != nil {
			return err
		}
	}
	i, unlock, err := f.lockOne(ino)
	if err != nil {
		return err
	}
	defer unlock()
	const settable = disk.FlagImmutable | disk.FlagAppend
	owned := a.Mode != nil || a.UID != nil || a.GID != nil
	if i.d.Has(disk.FlagImmutable) && a.Flags == nil || i.d.Has(disk.FlagAppend) && owned {
		return refuse(KindPermission, "setattr", ino, "")
	}
	var inInode, inBlock []disk.Xattr
	changed := false
	chown := (a.UID != nil || a.GID != nil) && !i.d.IsDir()
	if a.Mode != nil || chown {
		all, err := f.allXattrs(i)
		if err != nil {
			return err
		}
		if chown {
			all, changed = withoutCapabilities(all)
		}
		if a.Mode != nil {
			acl, err := chmodded(i, all, *a.Mode)
			if err != nil {
				return err
			}
			changed = changed || acl
		}
		inInode, inBlock, _ = f.placeXattrs(i.d.ExtraIsize, all) // they are no larger than before
	}
	if a.Size == nil { // else truncating has begun the decision
		op.rewind()
	}
	t, err := f.begin(op, creditsInode+creditsXattrs, 1)
	if err != nil {
		return err
	}
	d := &i.d
	if chown {
		d.Mode = setID(op, i)
	}
	if a.Mode != nil {
		d.Mode = d.Mode&disk.ModeType | *a.Mode&^disk.ModeType
	}
	if a.UID != nil {
		d.UID = *a.UID
	}
	if a.GID != nil {
		d.GID = *a.GID
	}
	if a.Atime != nil {
		d.Atime = disk.TimeOf(*a.Atime)
	}
	if a.Mtime != nil {
		d.Mtime = disk.TimeOf(*a.Mtime)
	}
	if a.Flags != nil {
		d.Flags = d.Flags&^settable | *a.Flags&settable
	}
	d.Ctime = t.now
	return t.end(func() error {
		if changed {
			if err := t.storeXattrs(i, inInode, inBlock); err != nil {
				return err
			}
		}
		return t.writeInode(i)
	}())
}
