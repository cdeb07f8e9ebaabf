package ext4

import (
	"slices"
	"sync"

	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/disk"
)

// XattrFlags change what SetXattr does.
type XattrFlags uint8

// Flags of SetXattr.
const (
	XattrCreate  XattrFlags = 1 << iota // fail with KindExist when the attribute exists
	XattrReplace                        // fail with KindNoData when it does not
)

// SetXattr stores an extended attribute. Access control lists come in the form
// that ext4 stores them in (see disk.ACL); one of access changes the mode too,
// and is not kept if that says all it does. It fails with KindRange when neither the inode
// nor a block has room for all attributes of the inode.
func (f *FS) SetXattr(op *Op, ino uint32, name string, value []byte, flags XattrFlags) error {
	if value == nil {
		value = []byte{}
	}
	return f.changeXattr(op, "setxattr", ino, name, value, flags)
}

// RemoveXattr removes an extended attribute. It fails with KindNoData when
// there is none.
func (f *FS) RemoveXattr(op *Op, ino uint32, name string) error {
	return f.changeXattr(op, "removexattr", ino, name, nil, XattrReplace)
}

func (f *FS) changeXattr(op *Op, what string, ino uint32, name string, value []byte, flags XattrFlags) error {
	index, rest, ok := splitXattrName(name)
	if !ok || index == disk.XattrSystem {
		return refuse(KindNotSupported, what, ino, name)
	}
	if err := f.writable(); err != nil {
		return err
	}
	i, unlock, err := f.lockOne(ino)
	if err != nil {
		return err
	}
	defer unlock()
	if i.d.Flags&(disk.FlagImmutable|disk.FlagAppend) != 0 {
		return refuse(KindPermission, what, ino, name)
	}
	acl, err := checkACL(i, index, value)
	if err != nil {
		return err
	}
	all, err := f.allXattrs(i)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(all, func(x disk.Xattr) bool { return x.Index == index && x.Name == rest })
	switch {
	case at >= 0 && flags&XattrCreate != 0:
		return refuse(KindExist, what, ino, name)
	case at < 0 && flags&XattrReplace != 0:
		return refuse(KindNoData, what, ino, name)
	case slices.ContainsFunc(all, func(x disk.Xattr) bool { return x.ValueIno != 0 }):
		return &disk.UnsupportedError{Features: []string{"ea_inode"}, Why: "change attributes"}
	}
	if at >= 0 {
		all = slices.Delete(all, at, at+1)
	}
	if value != nil && !acl.drop {
		all = append(all, disk.Xattr{Index: index, Name: rest, Value: value})
	}
	a, b, ok := f.placeXattrs(i.d.ExtraIsize, all)
	if !ok {
		return refuse(KindRange, what, ino, name)
	}
	if err := op.rewind(f); err != nil {
		return err
	}
	var more usage
	if len(b) > 0 && i.d.FileACL == 0 {
		more.space = int64(f.bs)
	}
	promise, err := f.promise(op, f.owners(i), more)
	if err != nil {
		return err
	}
	defer promise.release()
	blocks := 0
	if len(b) > 0 {
		blocks = 1 // also if it has one: others may share that
		if i.d.FileACL == 0 {
			if err := f.mayTake(op, 1); err != nil {
				return err
			}
		}
	}
	t, err := f.begin(op, creditsInode+creditsExtent, blocks)
	if err != nil {
		return err
	}
	t.promise = promise
	return t.end(func() error {
		i.d.Ctime, i.d.Mode, i.noDefault = t.now, acl.mode, false
		i.noCapabilities = false
		if err := t.storeXattrs(i, a, b); err != nil {
			return err
		}
		return t.writeInode(i)
	}())
}

// storeXattrs stores all attributes of i, as placeXattrs has divided them. The
// caller writes the inode.
func (t *tx) storeXattrs(i *inode, inInode, inBlock []disk.Xattr) error {
	if !t.f.sb.Has(disk.CompatExtAttr, 0, 0) {
		if err := t.writeSuper(func() { t.f.super.FeatureCompat |= disk.CompatExtAttr }); err != nil {
			return err
		}
	}
	if len(inBlock) > 0 || i.d.FileACL != 0 {
		if err := t.writeXattrBlock(i, inBlock); err != nil {
			return err
		}
	}
	return t.encodeInodeXattrs(i, inInode)
}

// placeXattrs divides attributes between the inode, as many as fit, and a block.
func (f *FS) placeXattrs(extraIsize uint16, all []disk.Xattr) (inInode, inBlock []disk.Xattr, ok bool) {
	room := disk.XattrInodeRoom(f.sb, extraIsize)
	for _, x := range all {
		if disk.XattrSpace(append(slices.Clip(inInode), x)) <= room {
			inInode = append(inInode, x)
		} else {
			inBlock = append(inBlock, x)
		}
	}
	return inInode, inBlock, disk.XattrSpace(inBlock) <= disk.XattrBlockRoom(f.sb)
}

// encodeInodeXattrs stores attributes in the slot of i, whose checksum the
// caller renews with writeInode.
func (t *tx) encodeInodeXattrs(i *inode, list []disk.Xattr) error {
	if t.f.sb.InodeSize == 128 {
		return nil
	}
	return t.changeSlot(i.ino, func(slot []byte) { disk.EncodeInodeXattrs(slot, i.d.ExtraIsize, list) })
}

// sharedBlock is the lock of an attribute block's content and its count of
// inodes: the kernel lets inodes with equal attributes share one.
func (f *FS) sharedBlock(block uint64) *sync.RWMutex { return &f.shared[block%sharedLocks] }

// writeXattrBlock makes list the contents of the attribute block of i. A block
// that other inodes share is left to them.
func (t *tx) writeXattrBlock(i *inode, list []disk.Xattr) error {
	f := t.f
	if i.d.FileACL != 0 {
		done, err := t.rewriteXattrBlock(i, list)
		if done || err != nil {
			return err
		}
	}
	if len(list) == 0 {
		return nil
	}
	block, err := t.allocate(f.extentGoal(i))
	if err != nil {
		return err
	}
	b, err := t.create(block)
	if err != nil {
		return err
	}
	defer b.Release()
	disk.EncodeXattrBlock(b.Data, f.sb, block, list)
	i.d.FileACL = block
	t.addBlocks(i, 1)
	return nil
}

// rewriteXattrBlock writes list into the block of i, if that is its alone;
// otherwise, or when there is nothing to write, it takes the block from i.
func (t *tx) rewriteXattrBlock(i *inode, list []disk.Xattr) (done bool, err error) {
	f := t.f
	if len(list) > 0 {
		mu := f.sharedBlock(i.d.FileACL)
		mu.Lock()
		defer mu.Unlock()
		b, err := f.cache.Get(i.d.FileACL, 0, nil)
		if err != nil {
			return false, err
		}
		defer b.Release()
		if disk.XattrBlockRefs(b.Data) == 1 {
			if err := t.modify(b); err != nil {
				return false, err
			}
			disk.EncodeXattrBlock(b.Data, f.sb, i.d.FileACL, list)
			return true, nil
		}
		return false, t.dropSharedBlock(i, b)
	}
	return false, t.dropXattrBlock(i)
}

// dropXattrBlock takes the attribute block from i, and frees it unless other
// inodes share it.
func (t *tx) dropXattrBlock(i *inode) error {
	f := t.f
	if i.d.FileACL == 0 {
		return nil
	}
	mu := f.sharedBlock(i.d.FileACL)
	mu.Lock()
	defer mu.Unlock()
	b, err := f.cache.Get(i.d.FileACL, 0, nil)
	if err != nil {
		return err
	}
	defer b.Release()
	return t.dropSharedBlock(i, b)
}

// dropSharedBlock is dropXattrBlock with the block's lock held.
func (t *tx) dropSharedBlock(i *inode, b *buffer.Buffer) error {
	f := t.f
	if refs := disk.XattrBlockRefs(b.Data); refs > 1 {
		if err := t.modify(b); err != nil {
			return err
		}
		disk.SetXattrBlockRefs(b.Data, refs-1)
		disk.SealXattrBlock(b.Data, f.sb, b.Block())
	} else if err := t.free(b.Block(), 1, true); err != nil {
		return err
	}
	i.d.FileACL = 0
	t.addBlocks(i, -1)
	return nil
}
