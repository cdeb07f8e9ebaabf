package ext4

import (
	"slices"
	"strings"

	"github.com/quintet-os/quintet/files/ext4/disk"
)

// xattrPrefixes are the name spaces, in the order names are matched.
var xattrPrefixes = []struct {
	index  uint8
	prefix string
}{
	{disk.XattrACLAccess, "system.posix_acl_access"},
	{disk.XattrACLDefault, "system.posix_acl_default"},
	{disk.XattrUser, "user."},
	{disk.XattrTrusted, "trusted."},
	{disk.XattrSecurity, "security."},
	{disk.XattrSystem, "system."},
}

// splitXattrName separates the name space. Lists of access rights have a name
// space each and no name within it.
func splitXattrName(name string) (index uint8, rest string, ok bool) {
	for _, p := range xattrPrefixes {
		if strings.HasPrefix(name, p.prefix) {
			rest = name[len(p.prefix):]
			whole := !strings.HasSuffix(p.prefix, ".")
			if whole == (rest == "") && len(rest) <= disk.NameLenMax {
				return p.index, rest, true
			}
		}
	}
	return 0, "", false
}

func joinXattrName(x *disk.Xattr) (string, bool) {
	for _, p := range xattrPrefixes {
		if p.index == x.Index {
			return p.prefix + x.Name, true
		}
	}
	return "", false
}

// Xattr returns the value of an extended attribute by its full name
// ("user.comment"). Lists of access rights are returned as ext4 stores them.
// It fails with KindNoData when there is none.
func (f *FS) Xattr(ino uint32, name string) ([]byte, error) {
	index, rest, ok := splitXattrName(name)
	if !ok {
		return nil, refuse(KindNotSupported, "getxattr", ino, name)
	}
	i, err := f.acquire(ino)
	if err != nil {
		return nil, err
	}
	defer f.release(i)
	return f.xattr(i, index, rest)
}

// xattr needs i.mu.
func (f *FS) xattr(i *inode, index uint8, name string) ([]byte, error) {
	inode, block, err := f.xattrs(i)
	if err != nil {
		return nil, err
	}
	for _, list := range [][]disk.Xattr{inode, block} {
		for _, x := range list {
			if x.Index != index || x.Name != name || index == disk.XattrSystem && name == "data" {
				continue
			}
			if x.ValueIno != 0 {
				return nil, &disk.UnsupportedError{Features: []string{"ea_inode"}, Why: "read an attribute"}
			}
			return x.Value, nil
		}
	}
	return nil, refuse(KindNoData, "getxattr", i.ino, name)
}

// Xattrs lists the full names of the extended attributes of ino.
func (f *FS) Xattrs(ino uint32) ([]string, error) {
	i, err := f.acquire(ino)
	if err != nil {
		return nil, err
	}
	defer f.release(i)
	inode, block, err := f.xattrs(i)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, list := range [][]disk.Xattr{inode, block} {
		for j := range list {
			if list[j].Index == disk.XattrSystem && list[j].Name == "data" {
				continue
			}
			if n, ok := joinXattrName(&list[j]); ok {
				out = append(out, n)
			}
		}
	}
	return out, nil
}

// xattrs reads the attributes in the inode and in its block. It needs i.mu.
func (f *FS) xattrs(i *inode) (inode, block []disk.Xattr, err error) {
	b, off, err := f.inodeSlot(i.ino)
	if err != nil {
		return nil, nil, err
	}
	inode, err = disk.DecodeInodeXattrs(b.Data[off:off+int(f.sb.InodeSize)], i.d.ExtraIsize)
	b.Release()
	if err != nil {
		return nil, nil, disk.At(err, i.ino, b.Block())
	}
	if i.d.FileACL == 0 {
		return inode, nil, nil
	}
	if i.d.FileACL <= uint64(f.sb.FirstDataBlock) || i.d.FileACL >= f.sb.BlocksCount {
		return nil, nil, &disk.CorruptError{Structure: "inode", Ino: i.ino, Detail: "attribute block lies beyond the volume"}
	}
	mu := f.sharedBlock(i.d.FileACL)
	mu.RLock()
	defer mu.RUnlock()
	b, err = f.cache.Get(i.d.FileACL, 0, nil)
	if err != nil {
		return nil, nil, err
	}
	defer b.Release()
	block, err = disk.DecodeXattrBlock(b.Data, f.sb, i.d.FileACL)
	return inode, block, disk.At(err, i.ino, i.d.FileACL)
}

// allXattrs reads the attributes wherever they are. It needs i.mu.
func (f *FS) allXattrs(i *inode) ([]disk.Xattr, error) {
	inInode, inBlock, err := f.xattrs(i)
	return append(slices.Clone(inInode), inBlock...), err
}

// inlineData is the content of a file or directory kept in its inode: 60 bytes
// in place of the block map, and the rest in the attribute system.data.
func (f *FS) inlineData(i *inode) ([]byte, error) {
	inode, _, err := f.xattrs(i)
	if err != nil {
		return nil, err
	}
	data := append([]byte(nil), i.d.Block[:]...)
	for _, x := range inode {
		if x.Index == disk.XattrSystem && x.Name == "data" {
			data = append(data, x.Value...)
		}
	}
	return data[:min(uint64(len(data)), i.d.Size)], nil
}
