package ext4

import (
	"slices"

	"github.com/quintet-os/quintet/files/ext4/disk"
)

// Who runs a file may get rights from it: its owner's or group's identity, by
// two bits of the mode, and capabilities, by an attribute. They were given to
// the content the file had, so whoever changes that, or its owner, takes them
// from it.

// rights is what a file loses with a change.
type rights struct {
	mode             uint16 // of the inode, afterwards
	bits             bool   // the mode changes
	capabilities     bool   // the attribute goes; the others are
	inInode, inBlock []disk.Xattr
}

func (r *rights) any() bool { return r.bits || r.capabilities }

// credits and blocks are what taking the rights adds to a transaction.
func (r *rights) credits() int {
	if r.capabilities {
		return creditsXattrs
	}
	return 0
}

func (r *rights) blocks() int {
	if r.capabilities {
		return 1
	}
	return 0
}

// setID returns mode without the bits that lend the identity of the owner and
// the group. The latter means that only if the group may execute; else it stays
// for members of the group.
func setID(op *Op, i *inode) uint16 {
	mode := i.d.Mode &^ 0o4000
	if mode&0o010 != 0 || op.GID != i.d.GID && !op.Privileged {
		mode &^= 0o2000
	}
	return mode
}

// rightsAtWrite decides what i loses when op changes its content. Privileged
// operations leave the mode as it is. It needs i.mu, for writing.
func (f *FS) rightsAtWrite(op *Op, i *inode) (rights, error) {
	r := rights{mode: i.d.Mode}
	if !op.Privileged && i.d.Mode&0o6000 != 0 {
		r.mode = setID(op, i)
		r.bits = r.mode != i.d.Mode
	}
	if i.noCapabilities {
		return r, nil
	}
	all, err := f.allXattrs(i)
	if err != nil {
		return r, err
	}
	kept, found := withoutCapabilities(all)
	if !found {
		i.noCapabilities = true
		return r, nil
	}
	r.capabilities = true
	r.inInode, r.inBlock, _ = f.placeXattrs(i.d.ExtraIsize, kept) // they are fewer than before
	return r, nil
}

func withoutCapabilities(all []disk.Xattr) (kept []disk.Xattr, found bool) {
	at := slices.IndexFunc(all, func(x disk.Xattr) bool { return x.Index == disk.XattrSecurity && x.Name == "capability" })
	if at < 0 {
		return all, false
	}
	return slices.Delete(all, at, at+1), true
}

// take takes the rights from i, which the caller writes. A transaction that is
// one of several of an operation may come to it again.
func (t *tx) take(i *inode, r *rights) error {
	if r.bits {
		i.d.Mode, r.bits = r.mode, false
	}
	if !r.capabilities {
		return nil
	}
	r.capabilities = false
	return t.storeXattrs(i, r.inInode, r.inBlock)
}
