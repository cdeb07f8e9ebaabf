package ext4_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
	"github.com/quintet-os/quintet/internal/unix"
)

// A side does operations on paths: the kernel on a mounted image, or package
// ext4 on a copy of it.
type side interface {
	create(p string) error
	write(p string, off int64, data []byte) error
	truncate(p string, size int64) error
	mkdir(p string) error
	remove(p string) error
	rename(from, to string) error
	link(p, to string) error
	symlink(target, p string) error
	chmod(p string, mode uint16) error
	setxattr(p, name string, value []byte) error
	punch(p string, off, length int64) error
}

// kernelSide is a mount.
type kernelSide struct{ dir string }

func (k kernelSide) at(p string) string { return filepath.Join(k.dir, p) }

func (k kernelSide) open(p string, flags int, do func(*os.File) error) error {
	f, err := os.OpenFile(k.at(p), flags, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(do(f), f.Close())
}

func (k kernelSide) create(p string) error {
	return k.open(p, os.O_RDWR|os.O_CREATE|os.O_EXCL, func(*os.File) error { return nil })
}

func (k kernelSide) write(p string, off int64, data []byte) error {
	return k.open(p, os.O_RDWR, func(f *os.File) error {
		_, err := f.WriteAt(data, off)
		return err
	})
}

func (k kernelSide) truncate(p string, size int64) error { return os.Truncate(k.at(p), size) }
func (k kernelSide) mkdir(p string) error                { return os.Mkdir(k.at(p), 0o755) }
func (k kernelSide) remove(p string) error               { return os.Remove(k.at(p)) }
func (k kernelSide) rename(from, to string) error        { return os.Rename(k.at(from), k.at(to)) }
func (k kernelSide) link(p, to string) error             { return os.Link(k.at(p), k.at(to)) }
func (k kernelSide) symlink(target, p string) error      { return os.Symlink(target, k.at(p)) }
func (k kernelSide) chmod(p string, mode uint16) error   { return os.Chmod(k.at(p), os.FileMode(mode)) }
func (k kernelSide) setxattr(p, name string, value []byte) error {
	return unix.Lsetxattr(k.at(p), name, value)
}

func (k kernelSide) punch(p string, off, length int64) error {
	return k.open(p, os.O_RDWR, func(f *os.File) error { return unix.PunchHole(int(f.Fd()), off, length) })
}

// ourSide is an open file system.
type ourSide struct{ author }

// on calls do with the inode that p leads to.
func (o *ourSide) on(p string, follow bool, do func(ino uint32) error) error {
	ino, err := o.f.Walk("/"+p, follow)
	if err != nil {
		return err
	}
	return do(ino)
}

// in calls do with the directory of p and its last name.
func (o *ourSide) in(p string, do func(dir uint32, name string) error) error {
	dir, err := o.f.Walk("/"+path.Dir(p)+"/.", true) // fails unless it is a directory
	if err != nil {
		return err
	}
	return do(dir, path.Base(p))
}

func (o *ourSide) create(p string) error {
	return o.in(p, func(d uint32, n string) error { _, err := o.f.Create(o.next(), d, n, 0o644); return err })
}

func (o *ourSide) write(p string, off int64, data []byte) error {
	return o.on(p, true, func(i uint32) error { _, err := o.f.WriteAt(o.next(), i, data, off); return err })
}

func (o *ourSide) truncate(p string, size int64) error {
	return o.on(p, true, func(i uint32) error { return o.f.Truncate(o.next(), i, size) })
}

func (o *ourSide) mkdir(p string) error {
	return o.in(p, func(d uint32, n string) error { _, err := o.f.Mkdir(o.next(), d, n, 0o755); return err })
}

func (o *ourSide) remove(p string) error {
	return o.in(p, func(d uint32, n string) error {
		err := o.f.Unlink(o.next(), d, n)
		if ext4.KindOf(err) == ext4.KindIsDir {
			err = o.f.Rmdir(o.next(), d, n)
		}
		return err
	})
}

func (o *ourSide) rename(from, to string) error {
	return o.in(from, func(d1 uint32, n1 string) error {
		return o.in(to, func(d2 uint32, n2 string) error { return o.f.Rename(o.next(), d1, n1, d2, n2, 0) })
	})
}

func (o *ourSide) link(p, to string) error {
	return o.on(p, false, func(i uint32) error {
		return o.in(to, func(d uint32, n string) error { return o.f.Link(o.next(), i, d, n) })
	})
}

func (o *ourSide) symlink(target, p string) error {
	return o.in(p, func(d uint32, n string) error { _, err := o.f.Symlink(o.next(), d, n, target); return err })
}

func (o *ourSide) chmod(p string, mode uint16) error {
	return o.on(p, true, func(i uint32) error { return o.f.Setattr(o.next(), i, ext4.SetAttr{Mode: &mode}) })
}

func (o *ourSide) setxattr(p, name string, value []byte) error {
	return o.on(p, false, func(i uint32) error { return o.f.SetXattr(o.next(), i, name, value, 0) })
}

// kernelErrors are the kinds that the operations of a script are refused with.
var kernelErrors = map[syscall.Errno]ext4.Kind{
	syscall.ENOENT: ext4.KindNotExist, syscall.EEXIST: ext4.KindExist, syscall.ENOTDIR: ext4.KindNotDir, syscall.EISDIR: ext4.KindIsDir,
	syscall.ENOTEMPTY: ext4.KindNotEmpty, syscall.ENOSPC: ext4.KindNoSpace, syscall.EINVAL: ext4.KindInvalid, syscall.EPERM: ext4.KindPermission,
	syscall.EFBIG: ext4.KindTooBig, syscall.ELOOP: ext4.KindLoop, syscall.ENAMETOOLONG: ext4.KindNameTooLong,
}

func (o *ourSide) punch(p string, off, length int64) error {
	return o.on(p, true, func(i uint32) error { return o.f.Fallocate(o.next(), i, ext4.PunchHole, true, off, length) })
}

// sameAnswer reports whether both sides did it, or refused it for one reason.
func sameAnswer(ours, theirs error) bool {
	if ours == nil || theirs == nil {
		return ours == theirs
	}
	var errno syscall.Errno
	if !errors.As(theirs, &errno) {
		return false
	}
	kind := ext4.KindOf(ours)
	if kind == ext4.KindRange {
		kind = ext4.KindNoSpace // of attributes
	}
	return kind != 0 && kernelErrors[errno] == kind
}

// script is a number of random operations, the same for both sides.
type script struct {
	rng   *rand.Rand
	paths []string // that may exist
}

func (s *script) path() string { return s.paths[s.rng.IntN(len(s.paths))] }

// fresh is a path that may be new.
func (s *script) fresh() string {
	p := path.Join(s.path(), fmt.Sprintf("%d%s", s.rng.IntN(400), strings.Repeat("n", s.rng.IntN(60))))
	if s.rng.IntN(2) == 0 {
		p = path.Join("many", path.Base(p))
	}
	s.paths = append(s.paths, p)
	return p
}

// next is an operation and what it is called.
func (s *script) next() (name string, do func(side) error) {
	p, q, n := s.path(), s.path(), s.rng.IntN(1<<20)
	switch s.rng.IntN(16) {
	case 0, 1, 2:
		p = s.fresh()
		return "create " + p, func(o side) error { return o.create(p) }
	case 3, 4:
		data := []byte(strings.Repeat(fmt.Sprint(n, " "), 1+s.rng.IntN(6000)))
		return fmt.Sprintf("write %s at %d, %d bytes", p, n, len(data)), func(o side) error { return o.write(p, int64(n), data) }
	case 5:
		return fmt.Sprintf("truncate %s to %d", p, n), func(o side) error { return o.truncate(p, int64(n)) }
	case 6:
		p = s.fresh()
		return "mkdir " + p, func(o side) error { return o.mkdir(p) }
	case 7, 8:
		return "remove " + p, func(o side) error { return o.remove(p) }
	case 9:
		q = s.fresh()
		return "rename " + p + " to " + q, func(o side) error { return o.rename(p, q) }
	case 10:
		if s.rng.IntN(2) == 0 {
			q = s.fresh()
		}
		return "link " + p + " as " + q, func(o side) error { return o.link(p, q) }
	case 11:
		p = s.fresh()
		target := strings.Repeat("t", 1+s.rng.IntN(200))
		return "symlink " + p, func(o side) error { return o.symlink(target, p) }
	case 12:
		mode := uint16(n & 0o777)
		return fmt.Sprintf("chmod %s %o", p, mode), func(o side) error { return o.chmod(p, mode) }
	case 13:
		length := int64(1 + s.rng.IntN(1<<17))
		return fmt.Sprintf("punch %s at %d, %d bytes", p, n, length), func(o side) error { return o.punch(p, int64(n), length) }
	}
	key, value := fmt.Sprintf("trusted.k%d", n%6), make([]byte, s.rng.IntN(300))
	return "setxattr " + p + " " + key, func(o side) error { return o.setxattr(p, key, value) }
}

// allocation is what the two sides may do differently: numbers of inodes,
// times, blocks, and how long a directory is.
var allocation = regexp.MustCompile(` (mtime|ctime|ino|blocks)=\S+|^(4\d+ \S+ \S+) size=\d+`)

func withoutAllocation(tree ext4test.Tree) ext4test.Tree {
	out := ext4test.Tree{}
	for p, line := range tree {
		out[p] = allocation.ReplaceAllString(line, "$2")
	}
	return out
}

// besideTheKernel does the same on two copies of an image, by the kernel and by
// us, and compares every answer and what is left. The kernel's copy goes without some
// features, if it may not be able to write them.
func besideTheKernel(t *testing.T, path, without string, seed uint64, steps int) {
	t.Helper()
	image1, image2 := path+".kernel", path+".ours"
	succeed(t, "cp", "--sparse=always", path, image1)
	succeed(t, "cp", "--sparse=always", path, image2)
	readBack := ""
	if without != "" {
		succeed(t, "tune2fs", "-f", "-O", without, image1)
		readBack = "ro,noload"
	}
	dir, unmount := ext4test.Mount(t, image1, "")
	defer unmount()
	f, closeAll := openPath(t, image2)
	ours := &ourSide{author{t, f, ext4.Op{Now: testNow, Privileged: true}}}
	s := &script{rng: rand.New(rand.NewPCG(seed, 7))}
	var top []ext4.DirEntry
	must(t, f.ReadDir(ext4.Root, 0, func(e ext4.DirEntry) bool {
		top = append(top, e)
		return true
	}))
	for _, e := range top {
		a, err := f.Stat(e.Ino)
		must(t, err)
		if typ := a.Mode & disk.ModeType; e.Name[0] != '.' && e.Name != "lost+found" && (typ == disk.ModeRegular || typ == disk.ModeDir) {
			s.paths = append(s.paths, e.Name)
		}
	}
	s.paths = append(s.paths, ".", "level0/level1")
	for n := range steps {
		name, do := s.next()
		if strings.HasPrefix(name, "remove . ") || name == "remove ." || strings.HasPrefix(name, "rename . ") {
			continue // the kernel looks at such names before it looks at the directory
		}
		theirErr, ourErr := do(kernelSide{dir}), do(ours)
		if !sameAnswer(ourErr, theirErr) {
			t.Fatalf("seed %d, step %d, %s: %v, by the kernel %v", seed, n, name, ourErr, theirErr)
		}
	}
	read := ext4test.Read(t, f)
	closeAll()
	theirs := ext4test.KernelTree(t, dir)
	unmount()
	ext4test.Compare(t, withoutAllocation(read), withoutAllocation(theirs))
	dir, unmount2 := ext4test.Mount(t, image2, readBack)
	ext4test.Compare(t, read, ext4test.KernelTree(t, dir))
	unmount2()
	ext4test.Fsck(t, image2)
	if r := checkPath(t, image2); !r.Clean() {
		t.Errorf("%d problems: %v", r.Count, r.Problems[:min(len(r.Problems), 5)])
	}
}

// readsAndRefuses is for images that are not written: all of it is read.
func readsAndRefuses(t *testing.T, path, feature string) {
	t.Helper()
	v, err := image.Open(path, true)
	must(t, err)
	defer v.Close()
	if _, err := ext4.Open(v, ext4.Options{}); !errors.Is(err, disk.ErrUnsupported) || !strings.Contains(err.Error(), feature) {
		t.Errorf("opened for writing: %v, want a refusal that names %s", err, feature)
	}
	f, err := ext4.Open(v, ext4.Options{ReadOnly: true})
	must(t, err)
	dir, unmount := ext4test.Mount(t, path, "ro,noload")
	ext4test.Compare(t, ext4test.Read(t, f), ext4test.KernelTree(t, dir))
	unmount()
	must(t, f.Close())
	if r := checkPath(t, path); !r.Clean() {
		t.Errorf("%d problems: %v", r.Count, r.Problems[:min(len(r.Problems), 5)])
	}
}
