package ext4_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
	"github.com/quintet-os/quintet/internal/unix"
)

const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

// kernelACL is a list in the form of Linux's system calls: version 2, every
// entry with an ID.
func kernelACL(a disk.ACL) []byte {
	p := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range a {
		if e.Tag != disk.ACLUser && e.Tag != disk.ACLGroup {
			e.ID = 0xFFFFFFFF
		}
		p = binary.LittleEndian.AppendUint16(p, e.Tag)
		p = binary.LittleEndian.AppendUint16(p, e.Perm)
		p = binary.LittleEndian.AppendUint32(p, e.ID)
	}
	return p
}

// randomACL is valid; sometimes it says no more than a mode.
func randomACL(r *rand.Rand) disk.ACL {
	perm := func() uint16 { return uint16(r.IntN(8)) }
	a := disk.ACL{{Tag: disk.ACLUserObj, Perm: perm()}}
	named := r.IntN(3)
	for range named {
		a = append(a, disk.ACLEntry{Tag: disk.ACLUser, Perm: perm(), ID: r.Uint32N(5000)})
	}
	a = append(a, disk.ACLEntry{Tag: disk.ACLGroupObj, Perm: perm()})
	groups := r.IntN(2)
	for range groups {
		a = append(a, disk.ACLEntry{Tag: disk.ACLGroup, Perm: perm(), ID: r.Uint32N(5000)})
	}
	if named+groups > 0 || r.IntN(3) == 0 {
		a = append(a, disk.ACLEntry{Tag: disk.ACLMask, Perm: perm()})
	}
	return append(a, disk.ACLEntry{Tag: disk.ACLOther, Perm: perm()})
}

// TestAccessControlListsAreInheritedAsByTheKernel has the kernel and this
// library make the same in directories with random default lists, change modes
// and set lists, and compares what both then say of both.
func TestAccessControlListsAreInheritedAsByTheKernel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, inodeSize := range []string{"128", "256"} {
		t.Run("inodes of "+inodeSize, func(t *testing.T) {
			compareACLs(t, rand.New(rand.NewPCG(seed, 1)), inodeSize)
		})
	}
}

// aclCase is one thing that is made in a directory, and what is done to it.
type aclCase struct {
	dir, kind   string
	mode, umask uint16
	chmod       int      // or -1
	access      disk.ACL // set afterwards, unless nil
}

func compareACLs(t *testing.T, r *rand.Rand, inodeSize string) {
	path := ext4test.Mkfs(t, 32<<20, "-I", inodeSize, "-N", "8192")
	dir, unmount := ext4test.Mount(t, path, "acl")
	var cases []aclCase
	for d := range 12 {
		name := fmt.Sprintf("d%d", d)
		must(t, os.Mkdir(filepath.Join(dir, name), 0o755))
		if d > 0 { // the first has none
			must(t, unix.Lsetxattr(filepath.Join(dir, name), aclDefault, kernelACL(randomACL(r))))
		}
		for _, kind := range []string{"file", "dir", "fifo", "symlink"} {
			for range 4 {
				c := aclCase{dir: name, kind: kind, mode: uint16(r.IntN(0o1000)), umask: uint16(r.IntN(0o1000)), chmod: r.IntN(0o1000)}
				if kind == "symlink" || r.IntN(2) == 0 {
					c.chmod = -1
				}
				if kind != "symlink" && r.IntN(3) == 0 {
					c.access = randomACL(r)
				}
				cases = append(cases, c)
			}
		}
	}
	for k, c := range cases {
		makeByKernel(t, filepath.Join(dir, c.dir, fmt.Sprintf("theirs%d", k)), c)
	}
	unmount()

	v, err := image.Open(path, true)
	must(t, err)
	f, err := ext4.Open(v, ext4.Options{})
	must(t, err)
	for k, c := range cases {
		makeByUs(t, f, fmt.Sprintf("ours%d", k), c)
	}
	for k, c := range cases {
		ours, theirs := seenByUs(t, f, fmt.Sprintf("/%s/ours%d", c.dir, k)), seenByUs(t, f, fmt.Sprintf("/%s/theirs%d", c.dir, k))
		if ours != theirs {
			t.Errorf("%+v:\n ours   %s\n theirs %s", c, ours, theirs)
		}
	}
	must(t, errors.Join(f.Close(), v.Close()))
	ext4test.Fsck(t, path)
	if r := checkPath(t, path); !r.Clean() {
		t.Error(r.Problems)
	}
	dir, _ = ext4test.Mount(t, path, "acl,ro")
	for k, c := range cases {
		ours, theirs := seenByKernel(t, filepath.Join(dir, c.dir, fmt.Sprintf("ours%d", k))), seenByKernel(t, filepath.Join(dir, c.dir, fmt.Sprintf("theirs%d", k)))
		if ours != theirs {
			t.Errorf("%+v, as the kernel sees it:\n ours   %s\n theirs %s", c, ours, theirs)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func makeByKernel(t *testing.T, path string, c aclCase) {
	t.Helper()
	old := unix.Umask(int(c.umask))
	var err error
	switch c.kind {
	case "file":
		var file *os.File
		if file, err = os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, os.FileMode(c.mode)); err == nil {
			err = file.Close()
		}
	case "dir":
		err = os.Mkdir(path, os.FileMode(c.mode))
	case "fifo":
		err = unix.MakeFIFO(path, uint32(c.mode))
	case "symlink":
		err = os.Symlink("nowhere", path)
	}
	unix.Umask(old)
	must(t, err)
	if c.chmod >= 0 {
		must(t, os.Chmod(path, os.FileMode(c.chmod)))
	}
	if c.access != nil {
		must(t, unix.Lsetxattr(path, aclAccess, kernelACL(c.access)))
	}
}

func makeByUs(t *testing.T, f *ext4.FS, name string, c aclCase) {
	t.Helper()
	op := &ext4.Op{Now: testNow, Umask: c.umask, Privileged: true}
	dir, err := f.Walk("/"+c.dir, false)
	must(t, err)
	var a ext4.Attr
	switch c.kind {
	case "file":
		a, err = f.Create(op, dir, name, c.mode)
	case "dir":
		a, err = f.Mkdir(op, dir, name, c.mode)
	case "fifo":
		a, err = f.Mknod(op, dir, name, disk.ModeFIFO|c.mode, 0, 0)
	case "symlink":
		a, err = f.Symlink(op, dir, name, "nowhere")
	}
	must(t, err)
	if c.chmod >= 0 {
		mode := uint16(c.chmod)
		must(t, f.Setattr(op, a.Ino, ext4.SetAttr{Mode: &mode}))
	}
	if c.access != nil {
		must(t, f.SetXattr(op, a.Ino, aclAccess, c.access.Encode(), 0))
	}
}

func seenByUs(t *testing.T, f *ext4.FS, path string) string {
	t.Helper()
	ino, err := f.Walk(path, false)
	must(t, err)
	a, err := f.Stat(ino)
	must(t, err)
	names, err := f.Xattrs(ino)
	must(t, err)
	slices.Sort(names)
	line := fmt.Sprintf("%o", a.Mode)
	for _, n := range names {
		v, err := f.Xattr(ino, n)
		must(t, err)
		line += fmt.Sprintf(" %s=%x", n, v)
	}
	return line
}

func seenByKernel(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Lstat(path)
	must(t, err)
	line := info.Mode().String()
	p := make([]byte, 4096)
	for _, n := range []string{aclAccess, aclDefault} {
		if k, err := unix.Lgetxattr(path, n, p); err == nil {
			line += fmt.Sprintf(" %s=%x", n, p[:k])
		}
	}
	return line
}

// TestWrongAccessControlListsAreRefused gives lists that mean nothing.
func TestWrongAccessControlListsAreRefused(t *testing.T) {
	f, m := openNew(t, 16<<20, ext4.FormatOptions{})
	op := &ext4.Op{Now: testNow}
	a, err := f.Create(op, ext4.Root, "file", 0o640)
	must(t, err)
	good := disk.ACL{{Tag: disk.ACLUserObj, Perm: 6}, {Tag: disk.ACLUser, Perm: 7, ID: 5}, {Tag: disk.ACLGroupObj, Perm: 4}, {Tag: disk.ACLMask, Perm: 5}, {Tag: disk.ACLOther}}
	for _, c := range []struct {
		name, attribute string
		value           []byte
		want            ext4.Kind
	}{
		{"nothing", aclAccess, nil, ext4.KindInvalid},
		{"version", aclAccess, kernelACL(good), ext4.KindInvalid},
		{"cut short", aclAccess, good.Encode()[:15], ext4.KindInvalid},
		{"without the others", aclAccess, good[:4].Encode(), ext4.KindInvalid},
		{"without a mask", aclAccess, slices.Delete(slices.Clone(good), 3, 4).Encode(), ext4.KindInvalid},
		{"twice", aclAccess, append(slices.Clone(good), good[4]).Encode(), ext4.KindInvalid},
		{"out of order", aclAccess, append(disk.ACL{good[2]}, good...).Encode(), ext4.KindInvalid},
		{"rights", aclAccess, append(disk.ACL{{Tag: disk.ACLUserObj, Perm: 8}}, good[1:]...).Encode(), ext4.KindInvalid},
		{"default of a file", aclDefault, good.Encode(), ext4.KindPermission},
		{"good", aclAccess, good.Encode(), 0},
	} {
		if err := f.SetXattr(op, a.Ino, c.attribute, c.value, 0); ext4.KindOf(err) != c.want || c.want == 0 && err != nil {
			t.Errorf("%s: error %v, want kind %v", c.name, err, c.want)
		}
	}
	if a, err = f.Stat(a.Ino); err != nil || a.Mode&0o777 != 0o650 {
		t.Errorf("mode %o, %v; the list says 650", a.Mode, err)
	}
	if v, err := f.Xattr(a.Ino, aclAccess); err != nil || !bytes.Equal(v, good.Encode()) {
		t.Errorf("the list is %x, %v", v, err)
	}
	// A list without entries takes the list away, and leaves the mode.
	must(t, f.SetXattr(op, a.Ino, aclAccess, disk.ACL{}.Encode(), 0))
	if names, err := f.Xattrs(a.Ino); err != nil || len(names) != 0 {
		t.Errorf("attributes %s are left, %v", strings.Join(names, " "), err)
	}
	closeClean(t, f, m)
}
