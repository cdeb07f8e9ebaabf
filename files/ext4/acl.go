package ext4

import (
	"slices"

	"github.com/quintet-os/quintet/files/ext4/disk"
)

// Access control lists are attributes that mean something: a list of access
// agrees with the mode of its inode, and a directory's default list is passed
// on to what is made in it. Whether somebody may do something is decided by the
// caller.

// inheritance is what a new inode gets of its directory's default list.
type inheritance struct {
	mode   uint16
	xattrs []disk.Xattr
}

// inherit decides the mode and the attributes of what is made in d with the
// mode asked for. It needs d.mu, for writing.
func (f *FS) inherit(op *Op, d *inode, mode uint16) (inheritance, error) {
	plain := inheritance{mode: mode &^ (op.Umask & 0o777)}
	switch {
	case mode&disk.ModeType == disk.ModeSymlink:
		return inheritance{mode: mode}, nil
	case d.noDefault:
		return plain, nil
	}
	stored, err := f.xattr(d, disk.XattrACLDefault, "")
	if KindOf(err) == KindNoData {
		d.noDefault = true
		return plain, nil
	}
	if err != nil {
		return plain, err
	}
	list, err := disk.DecodeACL(stored)
	if err != nil {
		return plain, disk.At(err, d.ino, 0)
	}
	var h inheritance
	access, bits := list.Inherit(mode)
	h.mode = bits
	if mode&disk.ModeType == disk.ModeDir {
		h.xattrs = append(h.xattrs, disk.Xattr{Index: disk.XattrACLDefault, Value: stored})
	}
	if _, all := access.Mode(); !all {
		h.xattrs = append(h.xattrs, disk.Xattr{Index: disk.XattrACLAccess, Value: access.Encode()})
	}
	return h, nil
}

// aclChange is what setting a list changes beside the attribute itself.
type aclChange struct {
	mode uint16 // of the inode, afterwards
	drop bool   // the mode says all that the list does: no attribute is kept
}

// checkACL validates a list that is to be set on i; any other attribute passes.
func checkACL(i *inode, index uint8, value []byte) (aclChange, error) {
	c := aclChange{mode: i.d.Mode}
	if index != disk.XattrACLAccess && index != disk.XattrACLDefault || value == nil {
		return c, nil
	}
	list, err := disk.DecodeACL(value)
	switch {
	case err != nil:
		return c, refuse(KindInvalid, "set access control list", i.ino, "")
	case i.d.IsSymlink():
		return c, refuse(KindNotSupported, "set access control list", i.ino, "")
	case index == disk.XattrACLDefault && !i.d.IsDir():
		return c, refuse(KindPermission, "set default access control list", i.ino, "")
	case len(list) == 0:
		c.drop = true
	case index == disk.XattrACLAccess:
		var bits uint16
		bits, c.drop = list.Mode()
		c.mode = i.d.Mode&^0o777 | bits
	}
	return c, nil
}

// chmodded has the list of access among the attributes of i follow a change of
// its mode, and reports whether there is one.
func chmodded(i *inode, all []disk.Xattr, mode uint16) (bool, error) {
	at := slices.IndexFunc(all, func(x disk.Xattr) bool { return x.Index == disk.XattrACLAccess })
	if at < 0 {
		return false, nil
	}
	list, err := disk.DecodeACL(all[at].Value)
	if err != nil {
		return false, disk.At(err, i.ino, 0)
	}
	all[at].Value = list.WithMode(mode).Encode()
	return true, nil
}
