package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/image"
	"github.com/quintet-os/quintet/internal/unix"
)

// ErrHolds refuses to overwrite an image that holds something.
var ErrHolds = errors.New("holds data")

// ErrBusy refuses an image that a server or the kernel is using.
var ErrBusy = errors.New("is in use")

// ErrSize refuses to make an image without knowing how large.
var ErrSize = errors.New("has no size")

// MakeOptions configure Make.
type MakeOptions struct {
	ext4.FormatOptions
	// Size of the image in bytes; 0 keeps the size of one that exists.
	Size int64
	// Force overwrites an image that holds something.
	Force bool
}

// Make makes an empty file system on the image file or block device at path; a
// file that does not exist is created, sparse, and removed again on failure. An
// image that exists is read first, as far as it has data, to see that it holds
// nothing but zeros.
//
// Errors: ErrHolds, ErrBusy, ErrSize, each with the path; those of ext4.Format,
// of the system and of ctx.
func Make(ctx context.Context, path string, o MakeOptions) (*FileSystem, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return makeNew(path, o)
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if err := claim(file); err != nil {
		return nil, err
	}
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	if o.Zeroed, err = holdsNothing(ctx, file, size); err != nil {
		return nil, err
	}
	if !o.Zeroed && !o.Force {
		return nil, fmt.Errorf("%s %w: %s", path, ErrHolds, content(path))
	}
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	switch {
	case o.Size == 0 && size == 0:
		return nil, fmt.Errorf("%s %w", path, ErrSize)
	case o.Size != 0 && !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is a device of %d bytes, which cannot be changed: leave the size out", path, size)
	case o.Size != 0:
		if err := file.Truncate(o.Size); err != nil {
			return nil, err
		}
	}
	return format(path, o)
}

func makeNew(path string, o MakeOptions) (*FileSystem, error) {
	if o.Size == 0 {
		return nil, fmt.Errorf("%s does not exist, so it %w", path, ErrSize)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	o.Zeroed = true
	made, err := func() (*FileSystem, error) {
		if err := errors.Join(file.Truncate(o.Size), file.Close()); err != nil {
			return nil, err
		}
		return format(path, o)
	}()
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return made, nil
}

func format(path string, o MakeOptions) (*FileSystem, error) {
	v, err := image.Open(path, true)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(ext4.Format(v, o.FormatOptions), v.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	made, err := Open(path, true)
	if err != nil {
		return nil, err
	}
	return made.FileSystem(), made.Close()
}

// claim fails with ErrBusy when a storage server has locked the image, or the
// kernel has it behind a loop device. The lock goes when file is closed.
func claim(file *os.File) error {
	free, err := unix.TryLockExclusive(int(file.Fd()))
	if err != nil {
		return err
	}
	if !free {
		return fmt.Errorf("%s %w: another process has locked it, as a storage server does with its volumes", file.Name(), ErrBusy)
	}
	mine, err := file.Stat()
	if err != nil {
		return err
	}
	backed, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return err
	}
	for _, attribute := range backed {
		text, err := os.ReadFile(attribute)
		if err != nil {
			continue // detached meanwhile
		}
		if theirs, err := os.Stat(strings.TrimSuffix(string(text), "\n")); err == nil && os.SameFile(mine, theirs) {
			return fmt.Errorf("%s %w: it backs /dev/%s; unmount and detach that first", file.Name(), ErrBusy, strings.Split(attribute, "/")[3])
		}
	}
	return nil
}

// holdsNothing reports whether file reads as zeros. It reads only what the file
// system under it has data for.
func holdsNothing(ctx context.Context, file *os.File, size int64) (bool, error) {
	chunk := make([]byte, copyChunkBytes)
	for at := int64(0); at < size; {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if at%copyChunkBytes == 0 {
			next, err := unix.SeekData(int(file.Fd()), at)
			switch {
			case errors.Is(err, unix.ErrNoData):
				return true, nil
			case err == nil:
				at = next
			}
		}
		n, err := file.ReadAt(chunk[:min(copyChunkBytes-at%copyChunkBytes, size-at)], at)
		if err != nil {
			return false, err
		}
		for _, b := range chunk[:n] {
			if b != 0 {
				return false, nil
			}
		}
		at += int64(n)
	}
	return true, nil
}

// content says what an image holds, for people who are about to lose it.
func content(path string) string {
	m, err := Open(path, true)
	if err != nil {
		return "it is not empty, and no ext4 file system"
	}
	defer m.Close()
	s := m.FileSystem()
	used := max(0, int64(s.Inodes)-int64(s.FreeInodes)-int64(m.sb.FirstInode))
	return fmt.Sprintf("an ext4 file system with label %q, UUID %s, and about %d files, last written %s", s.Label, s.UUID, used, s.Written.Format("2006-01-02 15:04:05"))
}
