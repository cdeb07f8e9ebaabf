// Package inspect prints what is in an ext4 file system: the logic behind
// `quintet debug ext4`. It changes nothing; a journal that holds transactions
// is replayed in memory.
//
// Trust: the volume is not trusted; package ext4 checks what is read, and names
// are quoted before they reach a terminal.
package inspect

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/jbd2"
)

const (
	// copyBytes is read at a time by Cat.
	copyBytes = 1 << 20
	// segmentsMax bounds the extents Stat prints.
	segmentsMax = 1000
)

// Ls lists a directory, or describes the one file at path.
func Ls(w io.Writer, f *ext4.FS, path string) error {
	ino, err := f.Walk(path, true)
	if err != nil {
		return err
	}
	a, err := f.Stat(ino)
	if err != nil {
		return err
	}
	if !a.FileMode().IsDir() {
		return line(w, f, a, path)
	}
	var list []ext4.DirEntry
	if err := f.ReadDir(ino, 0, func(e ext4.DirEntry) bool { list = append(list, e); return true }); err != nil {
		return err
	}
	for _, e := range list {
		a, err := f.Stat(e.Ino)
		if err != nil {
			return fmt.Errorf("%s: %w", quote(e.Name), err)
		}
		if err := line(w, f, a, e.Name); err != nil {
			return err
		}
	}
	return nil
}

func line(w io.Writer, f *ext4.FS, a ext4.Attr, name string) error {
	size := strconv.FormatUint(a.Size, 10)
	if a.FileMode()&fs.ModeDevice != 0 {
		size = fmt.Sprintf("%d,%d", a.Major, a.Minor)
	}
	target := ""
	if a.FileMode()&fs.ModeSymlink != 0 {
		t, err := f.Readlink(a.Ino)
		if err != nil {
			return err
		}
		target = " -> " + quote(t)
	}
	_, err := fmt.Fprintf(w, "%8d %v %5d %6d %6d %12s %s %s%s\n", a.Ino, a.FileMode(), a.Links, a.UID, a.GID, size,
		a.Mtime.Format(time.DateTime), quote(name), target)
	return err
}

// quote makes a name safe to print.
func quote(name string) string {
	if q := strconv.Quote(name); q[1:len(q)-1] != name {
		return q
	}
	return name
}

// Cat writes the content of a file.
func Cat(w io.Writer, f *ext4.FS, path string) error {
	ino, err := f.Walk(path, true)
	if err != nil {
		return err
	}
	p := make([]byte, copyBytes)
	for off := int64(0); ; {
		n, err := f.ReadAt(ino, p, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if _, werr := w.Write(p[:n]); werr != nil {
			return werr
		}
		if err != nil || n == 0 {
			return nil
		}
		off += int64(n)
	}
}

// Stat describes a file and where it lies on the volume; without a path, the
// file system.
func Stat(w io.Writer, f *ext4.FS, path string) error {
	if path == "" {
		return super(w, f)
	}
	ino, err := f.Walk(path, false)
	if err != nil {
		return err
	}
	a, err := f.Stat(ino)
	if err != nil {
		return err
	}
	stamp := func(t time.Time) string { return t.Format("2006-01-02 15:04:05.000000000 MST") }
	fmt.Fprintf(w, "inode %d  generation %d  mode %v (%#o)  links %d  owner %d:%d\n", a.Ino, a.Generation, a.FileMode(), a.Mode, a.Links, a.UID, a.GID)
	fmt.Fprintf(w, "size %d  sectors %d  flags %#x\n", a.Size, a.Blocks, a.Flags)
	fmt.Fprintf(w, "accessed %s\nmodified %s\nchanged  %s\ncreated  %s\n", stamp(a.Atime), stamp(a.Mtime), stamp(a.Ctime), stamp(a.Crtime))
	names, err := f.Xattrs(ino)
	if err != nil {
		return err
	}
	for _, n := range names {
		v, err := f.Xattr(ino, n)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "attribute %s = %q\n", quote(n), v)
	}
	if !a.FileMode().IsRegular() || a.Flags&disk.FlagInlineData != 0 {
		return nil
	}
	segments, err := f.Segments(ino, 0, int64(a.Size), segmentsMax)
	if err != nil {
		return err
	}
	at := int64(0)
	for _, s := range segments {
		where := "hole or unwritten"
		if s.Offset >= 0 {
			where = fmt.Sprintf("at %d", s.Offset)
		}
		fmt.Fprintf(w, "bytes %d to %d: %s\n", at, at+s.Length, where)
		at += s.Length
	}
	return nil
}

func super(w io.Writer, f *ext4.FS) error {
	sb, s := f.Superblock(), f.Statfs()
	fmt.Fprintf(w, "label %q  uuid %x\n", strings.TrimRight(string(sb.VolumeName[:]), "\x00"), sb.UUID)
	fmt.Fprintf(w, "features %s\n", strings.Join(disk.FeatureNames(sb.FeatureCompat, sb.FeatureIncompat, sb.FeatureROCompat), " "))
	fmt.Fprintf(w, "blocks %d of %d bytes, %d free, %d reserved  groups %d\n", sb.BlocksCount, s.BlockSize, s.Free, sb.ReservedBlocks, sb.Groups())
	_, err := fmt.Fprintf(w, "inodes %d of %d bytes, %d free\n", s.Inodes, sb.InodeSize, s.FreeInodes)
	return err
}

// Journal describes the journal as it is on the volume; f must have been
// opened with NoRecovery, so that nothing was replayed.
func Journal(w io.Writer, f *ext4.FS) error {
	log, err := f.Journal()
	if err != nil {
		return err
	}
	sb, err := log.Load()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "blocks %d of %d bytes in %d runs  first %d\n", sb.Blocks, sb.BlockSize, len(log.Runs), sb.First)
	fmt.Fprintf(w, "features %s  uuid %x\n", features(sb), sb.UUID)
	if !sb.Dirty() {
		_, err := fmt.Fprintf(w, "empty  next transaction %d  errno %d\n", sb.Sequence, sb.Errno)
		return err
	}
	_, err = fmt.Fprintf(w, "to be replayed from block %d, transaction %d on  errno %d\n", sb.Start, sb.Sequence, sb.Errno)
	return err
}

func features(sb *jbd2.Superblock) string {
	if s := jbd2.IncompatString(sb.Incompat); s != "" {
		return s
	}
	return "none"
}
