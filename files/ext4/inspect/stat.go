package inspect

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/quintet-os/quintet/files/ext4/disk"
)

// Inode is what Stat tells of an inode.
type Inode struct {
	Inode      uint32            `json:"inode"`
	Type       string            `json:"type"`
	Mode       uint16            `json:"mode"` // permissions
	Flags      uint32            `json:"flags"`
	Generation uint32            `json:"generation"`
	UID        uint32            `json:"uid"`
	GID        uint32            `json:"gid"`
	Links      uint32            `json:"links"`
	Size       uint64            `json:"size"`
	Sectors    uint64            `json:"sectors"` // allocated, of 512 bytes
	Atime      time.Time         `json:"atime"`
	Mtime      time.Time         `json:"mtime"`
	Ctime      time.Time         `json:"ctime"`
	Crtime     time.Time         `json:"crtime"`
	Device     string            `json:"device,omitempty"` // major:minor
	Target     string            `json:"target,omitempty"` // of a symbolic link
	Block      uint64            `json:"block"`            // of the volume, that holds the inode
	Offset     int               `json:"offset"`           // in that block, in bytes
	Xattrs     map[string][]byte `json:"xattrs,omitempty"`
	Extents    []Extent          `json:"extents,omitempty"`
}

// Extent is a run of a file's blocks.
type Extent struct {
	Logical   uint32 `json:"logical"`
	Physical  uint64 `json:"physical"`
	Blocks    uint32 `json:"blocks"`
	Unwritten bool   `json:"unwritten,omitempty"` // allocated, reads as zeros
}

// Stat describes the inode that path names; a symbolic link at its end is not
// followed.
func (m *Image) Stat(path string) (*Inode, error) {
	ino, err := m.resolve(path, false)
	if err != nil {
		return nil, err
	}
	a, err := m.f.Stat(ino)
	if err != nil {
		return nil, err
	}
	i := &Inode{Inode: ino, Type: typeName(a.Mode), Mode: a.Mode &^ disk.ModeType, Flags: a.Flags, Generation: a.Generation,
		UID: a.UID, GID: a.GID, Links: a.Links, Size: a.Size, Sectors: a.Blocks,
		Atime: a.Atime.UTC(), Mtime: a.Mtime.UTC(), Ctime: a.Ctime.UTC(), Crtime: a.Crtime.UTC()}
	switch a.Mode & disk.ModeType {
	case disk.ModeChar, disk.ModeBlock:
		i.Device = fmt.Sprintf("%d:%d", a.Major, a.Minor)
	case disk.ModeSymlink:
		if i.Target, err = m.f.Readlink(ino); err != nil {
			return nil, err
		}
	}
	if i.Block, i.Offset, err = m.f.InodeBlock(ino); err != nil {
		return nil, err
	}
	names, err := m.f.Xattrs(ino)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		value, err := m.f.Xattr(ino, name)
		if err != nil {
			return nil, err
		}
		if i.Xattrs == nil {
			i.Xattrs = map[string][]byte{}
		}
		i.Xattrs[name] = value
	}
	err = m.f.Extents(ino, func(x disk.Extent) bool {
		i.Extents = append(i.Extents, Extent{x.Logical, x.Physical, x.Len, x.Unwritten})
		return true
	})
	return i, err
}

// Print writes the description for people.
func (i *Inode) Print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Inode: %d, %s, at byte %d of block %d\n", i.Inode, i.Type, i.Offset, i.Block)
	fmt.Fprintf(&b, "Mode: %04o  Flags: %#x  Generation: %d\n", i.Mode, i.Flags, i.Generation)
	fmt.Fprintf(&b, "User: %d  Group: %d  Links: %d\n", i.UID, i.GID, i.Links)
	fmt.Fprintf(&b, "Size: %d bytes, %d sectors of 512 bytes allocated\n", i.Size, i.Sectors)
	for _, t := range []struct {
		name string
		at   time.Time
	}{{"Accessed", i.Atime}, {"Modified", i.Mtime}, {"Changed", i.Ctime}, {"Created", i.Crtime}} {
		fmt.Fprintf(&b, "%s: %s\n", t.name, t.at.Format("2006-01-02 15:04:05.000000000 MST"))
	}
	if i.Device != "" {
		fmt.Fprintf(&b, "Device: %s\n", i.Device)
	}
	if i.Target != "" {
		fmt.Fprintf(&b, "Target: %s\n", printable(i.Target))
	}
	for _, name := range sortedNames(i.Xattrs) {
		fmt.Fprintf(&b, "Attribute %s: %q\n", printable(name), i.Xattrs[name])
	}
	for _, x := range i.Extents {
		fmt.Fprintf(&b, "Blocks %d-%d: at %d-%d", x.Logical, uint64(x.Logical)+uint64(x.Blocks)-1, x.Physical, x.Physical+uint64(x.Blocks)-1)
		if x.Unwritten {
			b.WriteString(", unwritten")
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}
