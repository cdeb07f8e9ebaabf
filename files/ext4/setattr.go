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
	Flags        *uint32 // immutable, append-only, and of directories that they pass on their project
	Project      *uint32 // KindNotSupported without the feature, or in inodes without room for it
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
	settable := uint32(disk.FlagImmutable | disk.FlagAppend)
	if i.d.IsDir() {
		settable |= disk.FlagProject
	}
	owned := a.Mode != nil || a.UID != nil || a.GID != nil || a.Project != nil
	if i.d.Has(disk.FlagImmutable) && a.Flags == nil || i.d.Has(disk.FlagAppend) && owned {
		return refuse(KindPermission, "setattr", ino, "")
	}
	ids, extra, err := f.newOwners(i, a)
	if err != nil {
		return err
	}
	var inInode, inBlock []disk.Xattr
	changed := extra != i.d.ExtraIsize
	chown := (a.UID != nil || a.GID != nil) && !i.d.IsDir()
	if a.Mode != nil || chown || changed {
		all, err := f.allXattrs(i)
		if err != nil {
			return err
		}
		if chown {
			kept, found := withoutCapabilities(all)
			all, changed = kept, changed || found
		}
		if a.Mode != nil {
			acl, err := chmodded(i, all, *a.Mode)
			if err != nil {
				return err
			}
			changed = changed || acl
		}
		var ok bool
		if inInode, inBlock, ok = f.placeXattrs(extra, all); !ok { // else they are no larger than before
			return refuse(KindNotSupported, "setattr: the project has no room beside the attributes of", ino, "")
		}
	}
	if a.Size == nil { // else truncating has begun the decision
		op.rewind()
	}
	promise, fresh, err := f.promiseMove(op, i, ids)
	if err != nil {
		return err
	}
	defer promise.release()
	t, err := f.begin(op, creditsInode+creditsXattrs+fresh*creditsNewID, 1+fresh*f.claimNewID())
	if err != nil {
		return err
	}
	t.promise = promise
	t.move(i, ids)
	d := &i.d
	if chown {
		d.Mode = setID(op, i)
	}
	if a.Mode != nil {
		d.Mode = d.Mode&disk.ModeType | *a.Mode&^disk.ModeType
	}
	d.UID, d.GID, d.ExtraIsize = ids[UserQuota], ids[GroupQuota], extra
	if a.Project != nil {
		d.ProjectID = ids[ProjectQuota]
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

// newOwners are the owners of i after a, and the space its fixed fields take beyond the
// first 128 bytes then.
func (f *FS) newOwners(i *inode, a SetAttr) (ids owners, extra uint16, err error) {
	ids, extra = f.owners(i), i.d.ExtraIsize
	if a.UID != nil {
		ids[UserQuota] = *a.UID
	}
	if a.GID != nil {
		ids[GroupQuota] = *a.GID
	}
	if a.Project == nil || *a.Project == ids[ProjectQuota] {
		return ids, extra, nil
	}
	if !f.sb.Has(0, 0, disk.ROCompatProject) || f.sb.InodeSize < 128+disk.ProjectExtra {
		return ids, extra, refuse(KindNotSupported, "setattr: give a project to", i.ino, "")
	}
	ids[ProjectQuota] = *a.Project
	return ids, max(extra, disk.ProjectExtra), nil
}
