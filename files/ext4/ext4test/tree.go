package ext4test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"syscall"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/internal/unix"
)

// Tree maps each path of a file system to a line that says all that is
// compared: type, permissions, owner, links, size, times, content, attributes.
type Tree map[string]string

// KernelTree reads a mounted file system.
func KernelTree(t testing.TB, root string) Tree {
	t.Helper()
	tree := Tree{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		line := fmt.Sprintf("%o %d:%d links=%d size=%d mtime=%d.%09d ctime=%d.%09d ino=%d", st.Mode, st.Uid, st.Gid, st.Nlink,
			size(uint16(st.Mode), st.Size), st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec, st.Ino)
		switch {
		case info.Mode().IsRegular():
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" sha=%x blocks=%d", sha256.Sum256(content), st.Blocks)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " -> " + target
		case info.Mode()&fs.ModeDevice != 0:
			line += fmt.Sprintf(" dev=%d:%d", st.Rdev>>8&0xFFF, st.Rdev&0xFF|st.Rdev>>12&0xFFF00)
		}
		names, err := kernelXattrs(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		tree[rel] = line + names
		return nil
	})
	if err != nil {
		t.Fatalf("reading the mounted tree: %v", err)
	}
	return tree
}

// size leaves out what says nothing: the size of device nodes.
func size(mode uint16, n int64) int64 {
	switch mode & disk.ModeType {
	case disk.ModeRegular, disk.ModeSymlink, disk.ModeDir:
		return n
	}
	return 0
}

func kernelXattrs(path string) (string, error) {
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, list)
	if err != nil || n == 0 {
		return "", err
	}
	names := strings.Split(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00")
	sort.Strings(names)
	var out strings.Builder
	value := make([]byte, 64<<10)
	for _, name := range names {
		if strings.HasPrefix(name, "system.") {
			continue // translated by the kernel
		}
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, " %s=%x", name, sha256.Sum256(value[:n]))
	}
	return out.String(), nil
}

// Read reads the same of a file system through package ext4.
func Read(t testing.TB, f *ext4.FS) Tree {
	t.Helper()
	tree := Tree{}
	var walk func(path string, ino uint32)
	walk = func(path string, ino uint32) {
		a, err := f.Stat(ino)
		if err != nil {
			t.Fatalf("stat %s: %v", path, err)
		}
		line := fmt.Sprintf("%o %d:%d links=%d size=%d mtime=%d.%09d ctime=%d.%09d ino=%d", a.Mode, a.UID, a.GID, a.Links, size(a.Mode, int64(a.Size)),
			a.Mtime.Unix(), a.Mtime.Nanosecond(), a.Ctime.Unix(), a.Ctime.Nanosecond(), ino)
		var below []ext4.DirEntry
		switch a.Mode & disk.ModeType {
		case disk.ModeRegular:
			content := make([]byte, a.Size)
			if _, err := f.ReadAt(ino, content, 0); err != nil && a.Size > 0 {
				t.Fatalf("read %s: %v", path, err)
			}
			line += fmt.Sprintf(" sha=%x blocks=%d", sha256.Sum256(content), a.Blocks)
		case disk.ModeSymlink:
			target, err := f.Readlink(ino)
			if err != nil {
				t.Fatalf("readlink %s: %v", path, err)
			}
			line += " -> " + target
		case disk.ModeChar, disk.ModeBlock:
			line += fmt.Sprintf(" dev=%d:%d", a.Major, a.Minor)
		case disk.ModeDir:
			err := f.ReadDir(ino, 0, func(e ext4.DirEntry) bool {
				if e.Name != "." && e.Name != ".." {
					below = append(below, e)
				}
				return true
			})
			if err != nil {
				t.Fatalf("readdir %s: %v", path, err)
			}
		}
		names, err := f.Xattrs(ino)
		if err != nil {
			t.Fatalf("listxattr %s: %v", path, err)
		}
		sort.Strings(names)
		for _, n := range names {
			if strings.HasPrefix(n, "system.") {
				continue
			}
			v, err := f.Xattr(ino, n)
			if err != nil {
				t.Fatalf("getxattr %s %s: %v", path, n, err)
			}
			line += fmt.Sprintf(" %s=%x", n, sha256.Sum256(v))
		}
		tree[path] = line
		for _, e := range below {
			looked, err := f.Lookup(ino, e.Name)
			if err != nil || looked != e.Ino {
				t.Fatalf("lookup %s in %s: inode %d, %v; listed as %d", e.Name, path, looked, err, e.Ino)
			}
			walk(filepath.Join(path, e.Name), e.Ino)
		}
	}
	walk(".", ext4.Root)
	return tree
}

// Compare fails the test with the first differences, if there are any.
func Compare(t testing.TB, ours, theirs Tree) {
	t.Helper()
	paths := map[string]bool{}
	for p := range ours {
		paths[p] = true
	}
	for p := range theirs {
		paths[p] = true
	}
	sorted := make([]string, 0, len(paths))
	for p := range paths {
		sorted = append(sorted, p)
	}
	slices.Sort(sorted)
	const shown = 10
	bad := 0
	for _, p := range sorted {
		if ours[p] != theirs[p] {
			if bad++; bad <= shown {
				t.Errorf("%s:\n ours   %s\n theirs %s", p, ours[p], theirs[p])
			}
		}
	}
	if bad > shown {
		t.Errorf("and %d more of %d paths differ", bad-shown, len(sorted))
	}
}
