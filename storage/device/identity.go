package device

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/quintet-os/quintet/internal/unix"
)

// Identity tells a file or a disk from every other one of this host, whatever name
// leads to it. It is comparable, and names the same disk after that was away.
type Identity struct {
	Number uint64 // of a regular file's file system, or of a block device
	Inode  uint64 // of a regular file
	Disk   string // of a block device: what makes it the same one
}

// String is for messages.
func (i Identity) String() string {
	if i.Disk != "" {
		return i.Disk
	}
	return fmt.Sprintf("inode %d of file system %#x", i.Inode, i.Number)
}

// diskNames are the attributes of a disk that stay with it, best first, in its
// directory of sysfs.
var diskNames = []string{"dm/uuid", "md/uuid", "wwid", "device/wwid", "serial", "device/serial"}

// Identify finds the identity of an open regular file or block device. A loop device
// is the file behind it. A disk that has no name of its own is the same until it is
// taken out, as the kernel numbers it. It fails where nothing is attached.
func Identify(fd int) (Identity, error) {
	n, err := unix.NumberFile(fd)
	if err != nil {
		return Identity{}, fmt.Errorf("storage device: identify: %w", err)
	}
	if !n.Block {
		return Identity{Number: n.Device, Inode: n.Inode}, nil
	}
	i := Identity{Number: n.Device}
	backing, loop, err := unix.LoopBacking(fd)
	if err != nil {
		return Identity{}, fmt.Errorf("storage device: no image is attached to the loop device: %w", err)
	}
	if loop {
		i.Disk = fmt.Sprintf("the image with inode %d of file system %#x, from byte %d", backing.Inode, backing.Device, backing.Offset)
		return i, nil
	}
	dir := fmt.Sprintf("/sys/dev/block/%d:%d", n.Major, n.Minor)
	partition := read(dir, "partition")
	if partition != "" {
		if dir, err = filepath.EvalSymlinks(dir); err != nil {
			return Identity{}, fmt.Errorf("storage device: identify: %w", err)
		}
		dir = filepath.Dir(dir)
		partition = ", partition " + partition
	}
	for _, name := range append(diskNames, "diskseq") {
		if value := read(dir, name); value != "" {
			i.Disk = fmt.Sprintf("the disk with %s %s%s", filepath.Base(name), value, partition)
			return i, nil
		}
	}
	return Identity{}, errors.New("storage device: identify: the kernel says nothing by which the disk could be known again; Linux 5.15 or newer is needed")
}

func read(dir, name string) string {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
