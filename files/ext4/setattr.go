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
	Flags        *uint32 // immutable, append-only, and of directories that they pass on their project, and, while empty, that they ignore case
	Project      *uint32 // KindNotSupported without the feature, or in inodes without room for it
}

// Setattr changes attributes of an inode.
func (f *FS) Setattr(op *Op, ino uint32, a SetAttr) error {
	i, unlock, err := f.lockOne(ino)
	if err != nil {
		return err
	}
	defer unlock()
	if err := op.rewind(f); err != nil {
		return err
	}
	if a.Size != nil && op.from() > 0 { // what is left is to free blocks
		return f.truncate(op, i, uint64(*a.Size), 0, 0, nil)
	}
	var r rights
	if a.Size != nil {
		if r, err = f.checkTruncate(op, i, *a.Size); err != nil {
			return err
		}
	}
	c, err := f.planAttr(op, i, a, &r)
	if err != nil {
		return err
	}
	promise, fresh, err := f.promiseMove(op, i, c.ids)
	if err != nil {
		return err
	}
	defer promise.release()
	c.promise = promise
	credits, blocks := creditsXattrs+fresh*creditsNewID, fresh*f.claimNewID()
	if c.store && len(c.inBlock) > 0 {
		blocks++ // if other inodes share the one it has
	}
	if a.Size != nil {
		return f.truncate(op, i, uint64(*a.Size), credits, blocks, c.apply)
	}
	t, err := f.begin(op, creditsInode+credits, blocks)
	if err != nil {
		return err
	}
	return t.end(func() error {
		if err := c.apply(t); err != nil {
			return err
		}
		return t.writeInode(i)
	}())
}

// attrChange is what Setattr is about to change of an inode, but for its size.
type attrChange struct {
	i                *inode
	a                SetAttr
	mode             uint16
	ids              owners
	extra            uint16 // of the inode, afterwards
	settable         uint32 // flags
	promise          *promise
	store            bool // the extended attributes change too
	inInode, inBlock []disk.Xattr
}

// planAttr refuses what must not be done. r is what i loses with its content. It needs i.mu.
func (f *FS) planAttr(op *Op, i *inode, a SetAttr, r *rights) (*attrChange, error) {
	c := &attrChange{i: i, a: a, mode: i.d.Mode, settable: disk.FlagImmutable | disk.FlagAppend}
	if i.d.IsDir() {
		c.settable |= disk.FlagProject | disk.FlagCasefold
	}
	owned := a.Mode != nil || a.UID != nil || a.GID != nil || a.Project != nil
	if i.d.Has(disk.FlagImmutable) && a.Flags == nil || i.d.Has(disk.FlagAppend) && owned {
		return nil, refuse(KindPermission, "setattr", i.ino, "")
	}
	var err error
	if a.Flags != nil {
		if err := f.checkFold(i, *a.Flags); err != nil {
			return nil, err
		}
	}
	if c.ids, c.extra, err = f.newOwners(i, a); err != nil {
		return nil, err
	}
	if r.bits {
		c.mode = r.mode
	}
	chown := (a.UID != nil || a.GID != nil) && !i.d.IsDir()
	if chown {
		c.mode &= setID(op, i)
	}
	if a.Mode != nil {
		c.mode = i.d.Mode&disk.ModeType | *a.Mode&^disk.ModeType
	}
	c.store = c.extra != i.d.ExtraIsize
	if a.Mode == nil && !chown && !r.capabilities && !c.store {
		return c, nil
	}
	all, err := f.allXattrs(i)
	if err != nil {
		return nil, err
	}
	if chown || r.capabilities {
		kept, found := withoutCapabilities(all)
		all, c.store = kept, c.store || found
	}
	if a.Mode != nil {
		acl, err := chmodded(i, all, *a.Mode)
		if err != nil {
			return nil, err
		}
		c.store = c.store || acl
	}
	var ok bool
	if c.inInode, c.inBlock, ok = f.placeXattrs(c.extra, all); !ok { // else they are no larger than before
		return nil, refuse(KindNotSupported, "setattr: the project has no room beside the attributes of", i.ino, "")
	}
	return c, nil
}

// apply makes the change. The caller writes the inode.
func (c *attrChange) apply(t *tx) error {
	d, a := &c.i.d, &c.a
	t.promise = c.promise
	t.move(c.i, c.ids)
	d.Mode = c.mode
	d.UID, d.GID, d.ExtraIsize = c.ids[UserQuota], c.ids[GroupQuota], c.extra
	if a.Project != nil {
		d.ProjectID = c.ids[ProjectQuota]
	}
	if a.Atime != nil {
		d.Atime = disk.TimeOf(*a.Atime)
	}
	if a.Mtime != nil {
		d.Mtime = disk.TimeOf(*a.Mtime)
	}
	if a.Flags != nil {
		d.Flags = d.Flags&^c.settable | *a.Flags&c.settable
		c.i.names++ // what was known of names may not hold
	}
	d.Ctime = t.now
	if c.store {
		return t.storeXattrs(c.i, c.inInode, c.inBlock)
	}
	return nil
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
