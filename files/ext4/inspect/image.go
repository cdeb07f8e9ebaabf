package inspect

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/image"
)

// Image is a file system opened to be looked at, by one goroutine.
type Image struct {
	volume *image.File
	f      *ext4.FS
	sb     disk.Superblock
}

// Open opens the file system on the image file or block device at path,
// read-only. A journal that needs recovery is replayed in memory, unless raw is
// set: then the file system is shown as it stands on the volume.
// Errors: those of the system and of ext4.Open.
func Open(path string, raw bool) (*Image, error) {
	v, err := image.Open(path, false)
	if err != nil {
		return nil, err
	}
	f, err := ext4.Open(v, ext4.Options{ReadOnly: true, NoRecovery: raw})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), v.Close())
	}
	return &Image{v, f, f.Superblock()}, nil
}

// Close closes the image.
func (m *Image) Close() error { return errors.Join(m.f.Close(), m.volume.Close()) }

// resolve finds an inode by its path from the root directory, or by its number
// written as <12>.
func (m *Image) resolve(path string, follow bool) (uint32, error) {
	if text, ok := strings.CutPrefix(path, "<"); ok {
		if text, ok = strings.CutSuffix(text, ">"); ok {
			if ino, err := strconv.ParseUint(text, 10, 32); err == nil && ino > 0 {
				return uint32(ino), nil
			}
		}
	}
	ino, err := m.f.Walk(path, follow)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", printable(path), err)
	}
	return ino, nil
}

// copyChunkBytes is read at a time by Cat.
const copyChunkBytes = 1 << 20

// Cat writes the content of a regular file to w. Symbolic links are followed.
func (m *Image) Cat(path string, w io.Writer) error {
	ino, err := m.resolve(path, true)
	if err != nil {
		return err
	}
	chunk := make([]byte, copyChunkBytes)
	for off := int64(0); ; {
		n, err := m.f.ReadAt(ino, chunk, off)
		if _, failed := w.Write(chunk[:n]); failed != nil {
			return failed
		}
		off += int64(n)
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("%s: %w", printable(path), err)
		}
	}
}

// printable quotes a name that would not print as itself, so that an image
// cannot send control characters to a terminal.
func printable(name string) string {
	for _, r := range name {
		if r == utf8.RuneError || !strconv.IsPrint(r) {
			return strconv.Quote(name)
		}
	}
	return name
}

var typeNames = map[uint16]string{
	disk.ModeFIFO: "fifo", disk.ModeChar: "character device", disk.ModeDir: "directory", disk.ModeBlock: "block device",
	disk.ModeRegular: "regular", disk.ModeSymlink: "symlink", disk.ModeSocket: "socket",
}

func typeName(mode uint16) string {
	if name, ok := typeNames[mode&disk.ModeType]; ok {
		return name
	}
	return fmt.Sprintf("unknown type %#x", mode&disk.ModeType)
}
