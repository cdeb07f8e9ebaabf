package ext4

import (
	"io/fs"
	"time"

	"github.com/quintet-os/quintet/files/ext4/disk"
)

// Attr describes an inode.
type Attr struct {
	Ino           uint32
	Generation    uint32
	Mode          uint16 // type and permissions, as in st_mode
	Links         uint32 // 1 for a directory with too many subdirectories to count
	UID, GID      uint32
	Project       uint32 // 0: none
	Size          uint64
	Blocks        uint64 // allocated, in units of 512 bytes
	Major, Minor  uint32 // of device nodes
	Flags         uint32 // disk.Flag...
	Atime, Mtime  time.Time
	Ctime, Crtime time.Time
	Dtime         time.Time // deletion; zero while it lives
}

// FileMode converts Mode to the standard library's form.
func (a *Attr) FileMode() fs.FileMode {
	m := fs.FileMode(a.Mode & 0o777)
	switch a.Mode & disk.ModeType {
	case disk.ModeDir:
		m |= fs.ModeDir
	case disk.ModeSymlink:
		m |= fs.ModeSymlink
	case disk.ModeFIFO:
		m |= fs.ModeNamedPipe
	case disk.ModeSocket:
		m |= fs.ModeSocket
	case disk.ModeChar:
		m |= fs.ModeDevice | fs.ModeCharDevice
	case disk.ModeBlock:
		m |= fs.ModeDevice
	}
	if a.Mode&0o4000 != 0 {
		m |= fs.ModeSetuid
	}
	if a.Mode&0o2000 != 0 {
		m |= fs.ModeSetgid
	}
	if a.Mode&0o1000 != 0 {
		m |= fs.ModeSticky
	}
	return m
}

// Stat describes inode ino. It fails with KindStale when the inode is free.
func (f *FS) Stat(ino uint32) (Attr, error) {
	i, err := f.acquire(ino)
	if err != nil {
		return Attr{}, err
	}
	defer f.release(i)
	return f.attr(i), nil
}

// attr needs i.mu.
func (f *FS) attr(i *inode) Attr {
	d := &i.d
	a := Attr{Ino: i.ino, Generation: d.Generation, Mode: d.Mode, Links: uint32(d.Links), UID: d.UID, GID: d.GID, Project: f.project(i),
		Size: d.Size, Blocks: f.sectors(d), Flags: d.Flags,
		Atime: d.Atime.Time(), Mtime: d.Mtime.Time(), Ctime: d.Ctime.Time(), Crtime: d.Crtime.Time()}
	if d.Has(disk.FlagInlineData) && d.IsRegular() {
		a.Blocks += (d.Size + 511) / 512 // as the kernel counts what the inode holds
	}
	if t := d.Type(); t == disk.ModeChar || t == disk.ModeBlock {
		a.Major, a.Minor = d.Device()
	}
	return a
}

// sectors is the space of an inode in units of 512 bytes.
func (f *FS) sectors(d *disk.Inode) uint64 {
	if d.Has(disk.FlagHugeFile) {
		return d.Blocks << (f.shift - 9)
	}
	return d.Blocks
}
