package ext4_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
	"github.com/quintet-os/quintet/internal/testenv"
)

// limited opens a volume whose limits are enforced, and sets one.
func limited(t *testing.T, kind ext4.QuotaKind, id uint32, l disk.Quota) (*author, *image.Memory) {
	t.Helper()
	content, err := os.ReadFile(ext4test.Mkfs(t, 32<<20, "-O", "quota,project"))
	must(t, err)
	v := image.NewMemory(32 << 20)
	must(t, v.Load(content))
	f, err := ext4.Open(v, ext4.Options{EnforceQuotas: []ext4.QuotaKind{kind}})
	must(t, err)
	must(t, f.SetQuota(&ext4.Op{Now: testNow}, kind, id, l))
	t.Cleanup(func() {
		must(t, f.Close())
		mustBeClean(t, v)
	})
	return &author{t, f, ext4.Op{Now: testNow, UID: 7, GID: 8}}, v
}

func refused(t *testing.T, what string, err error) {
	t.Helper()
	if ext4.KindOf(err) != ext4.KindQuota {
		t.Errorf("%s: %v, want %v", what, err, ext4.KindQuota)
	}
}

// TestHardLimits tries every way to use more than is allowed.
func TestHardLimits(t *testing.T) {
	testenv.Unraced(t)
	a, _ := limited(t, ext4.UserQuota, 7, disk.Quota{SpaceHard: 64, InodesHard: 4})
	f := a.f
	open, err := f.Mkdir(&ext4.Op{Now: testNow, Privileged: true}, ext4.Root, "open", 0o777)
	must(t, err)
	ino := a.file(open.Ino, "file", make([]byte, 40<<10), 0)
	_, err = f.WriteAt(a.next(), ino, make([]byte, 28<<10), 40<<10)
	refused(t, "write", err)
	if at, err := f.Stat(ino); err != nil || at.Size != 40<<10 {
		t.Errorf("after a refused write: %+v, %v", at, err)
	}
	refused(t, "allocate", f.Fallocate(a.next(), ino, ext4.Allocate, true, 40<<10, 28<<10))
	_, err = f.WriteAt(a.next(), ino, make([]byte, 24<<10), 40<<10)
	must(t, err) // to the limit
	_, err = f.WriteAt(a.next(), ino, make([]byte, 64<<10), 0)
	must(t, err) // takes nothing more
	refused(t, "attributes in a block", f.SetXattr(a.next(), ino, "user.a", make([]byte, 1000), 0))
	_, err = f.Mkdir(a.next(), open.Ino, "dir", 0o755)
	refused(t, "mkdir", err)
	a.file(open.Ino, "2", nil, 0)
	a.file(open.Ino, "3", nil, 0)
	a.file(open.Ino, "4", nil, 0)
	_, err = f.Create(a.next(), open.Ino, "5", 0o644)
	refused(t, "create", err)
	_, err = f.Symlink(a.next(), open.Ino, "5", "target")
	refused(t, "symlink", err)
	must(t, f.Link(a.next(), ino, open.Ino, "name"))
	uid := uint32(7)
	root := &author{t, f, ext4.Op{Now: testNow, Privileged: true}}
	other := root.file(open.Ino, "other", make([]byte, 5000), 0)
	refused(t, "chown by who may not pass the limit", f.Setattr(a.next(), other, ext4.SetAttr{UID: &uid}))
	must(t, f.Setattr(root.next(), other, ext4.SetAttr{UID: &uid}))
	_, err = f.WriteAt(root.next(), ino, make([]byte, 10<<10), 64<<10)
	must(t, err)
	must(t, f.Truncate(a.next(), ino, 0))
	_, err = f.WriteAt(a.next(), ino, make([]byte, 30<<10), 0)
	must(t, err)
	q, err := f.Quota(ext4.UserQuota, 7)
	must(t, err)
	if q.Space != 40<<10 || q.Inodes != 5 {
		t.Errorf("%+v", q)
	}
	// Another's limits are not touched, and groups are only counted.
	must(t, f.SetQuota(root.next(), ext4.GroupQuota, 8, disk.Quota{SpaceHard: 1}))
	a.op.UID = 9
	a.file(open.Ino, "of 9", make([]byte, 100<<10), 0)
}

// TestADirectoryGrowsWithinItsLimit fills directories of a user who may use no more.
func TestADirectoryGrowsWithinItsLimit(t *testing.T) {
	testenv.Unraced(t)
	a, _ := limited(t, ext4.UserQuota, 7, disk.Quota{SpaceHard: 12})
	root := &author{t, a.f, ext4.Op{Now: testNow, Privileged: true}}
	other, err := a.f.Mkdir(root.next(), ext4.Root, "root's", 0o777)
	must(t, err)
	dir, err := a.f.Mkdir(a.next(), ext4.Root, "dir", 0o755)
	must(t, err)
	for n := 0; ; n++ {
		_, err = a.f.Create(a.next(), dir.Ino, fmt.Sprintf("%d%s", n, strings.Repeat("n", 100)), 0o644)
		if err != nil {
			refused(t, "create", err)
			if n < 40 {
				t.Errorf("refused after %d names", n)
			}
			break
		}
		must(t, a.f.Link(a.next(), a.file(other.Ino, fmt.Sprint(n), nil, 0), other.Ino, "link"+fmt.Sprint(n)))
	}
	ino, err := a.f.Walk("/root's/0", false)
	must(t, err)
	// The names that fit are a matter of their hashes.
	untilRefused := func(what string, do func(name string) error) {
		for n := range 200 {
			if err = do(fmt.Sprintf("%s %d%s", what, n, strings.Repeat("x", 200))); err != nil {
				break
			}
		}
		refused(t, what, err)
	}
	untilRefused("link", func(name string) error { return a.f.Link(a.next(), ino, dir.Ino, name) })
	untilRefused("rename", func(name string) error {
		from := a.file(other.Ino, name, nil, 0)
		err := a.f.Rename(a.next(), other.Ino, name, dir.Ino, name, 0)
		if at, statErr := a.f.Stat(from); statErr != nil || at.Links != 1 {
			t.Errorf("after %v: %+v, %v", err, at, statErr)
		}
		return err
	})
	must(t, a.f.Unlink(a.next(), dir.Ino, "0"+strings.Repeat("n", 100)))
	if q, err := a.f.Quota(ext4.UserQuota, 7); err != nil || q.Space != 12<<10 {
		t.Errorf("%+v, %v", q, err)
	}
}

// TestSoftLimits exceeds them for as long as they may be, and longer.
func TestSoftLimits(t *testing.T) {
	testenv.Unraced(t)
	const week = 7 * 24 * 3600
	a, _ := limited(t, ext4.GroupQuota, 8, disk.Quota{SpaceSoft: 16, InodesSoft: 2})
	f := a.f
	dir, err := f.Mkdir(&ext4.Op{Now: testNow, Privileged: true}, ext4.Root, "open", 0o777)
	must(t, err)
	ino := a.file(dir.Ino, "1", make([]byte, 16<<10), 0)
	a.file(dir.Ino, "2", nil, 0)
	quota := func() disk.Quota {
		q, err := f.Quota(ext4.GroupQuota, 8)
		must(t, err)
		return q
	}
	if q := quota(); q.SpaceUntil != 0 || q.InodeUntil != 0 {
		t.Errorf("at the limits: %+v", q)
	}
	_, err = f.WriteAt(a.next(), ino, make([]byte, 4096), 16<<10)
	must(t, err)
	a.file(dir.Ino, "3", nil, 0)
	now := uint64(a.op.Now.Unix())
	if q := quota(); q.SpaceUntil != now+week || q.InodeUntil != now+week {
		t.Errorf("beyond the limits: %+v at %d", q, now)
	}
	a.op.Now = a.op.Now.Add(week * 1e9)
	_, err = f.WriteAt(a.next(), ino, make([]byte, 4096), 20<<10)
	refused(t, "write after a week", err)
	_, err = f.Create(a.next(), dir.Ino, "4", 0o644)
	refused(t, "create after a week", err)
	must(t, f.Truncate(a.next(), ino, 16<<10))
	must(t, f.Unlink(a.next(), dir.Ino, "3"))
	if q := quota(); q.SpaceUntil != 0 || q.InodeUntil != 0 {
		t.Errorf("within the limits again: %+v", q)
	}
	a.file(dir.Ino, "3", make([]byte, 4096), 0)
	// A limit set below what is used gives the same time; users' are not enforced here.
	must(t, f.SetQuota(a.next(), ext4.UserQuota, 7, disk.Quota{SpaceSoft: 1}))
	if q, err := f.Quota(ext4.UserQuota, 7); err != nil || q.SpaceUntil != uint64(a.op.Now.Unix())+week || q.InodeUntil != 0 {
		t.Errorf("a limit set too low: %+v, %v", q, err)
	}
}

// TestLimitsHoldForAllAtOnce has many writers of one user, who together may not use more
// than the limit, and must be able to use all of it.
func TestLimitsHoldForAllAtOnce(t *testing.T) {
	const writers, blocks, rounds = 6, 64, 8
	a, _ := limited(t, ext4.UserQuota, 7, disk.Quota{SpaceHard: (writers*(blocks+1) + 1) * 4}) // with a block of the map each, and an extra one
	dir, err := a.f.Mkdir(&ext4.Op{Now: testNow, Privileged: true}, ext4.Root, "open", 0o777)
	must(t, err)
	var files []uint32
	for w := range writers {
		files = append(files, a.file(dir.Ino, fmt.Sprint(w), nil, 0))
	}
	extra := a.file(dir.Ino, "extra", nil, 0)
	for range rounds {
		done := make(chan error, writers)
		for _, ino := range files {
			must(t, a.f.Truncate(a.next(), ino, 0))
		}
		for k := int64(1); k < blocks; k += 2 { // so that a write has many holes to fill
			for _, ino := range files {
				_, err := a.f.WriteAt(a.next(), ino, make([]byte, 4096), k*4096)
				must(t, err)
			}
		}
		for _, ino := range files {
			go func() {
				_, err := a.f.WriteAt(&ext4.Op{Now: testNow, UID: 7}, ino, make([]byte, blocks*4096), 0)
				done <- err
			}()
		}
		// Another's block fits at any time: nothing is counted twice on its way.
		for len(done) < writers {
			_, err := a.f.WriteAt(a.next(), extra, make([]byte, 4096), 0)
			must(t, err)
			must(t, a.f.Truncate(a.next(), extra, 0))
		}
		for range files {
			if err := <-done; err != nil {
				t.Fatalf("within the limit: %v", err)
			}
		}
		for _, ino := range files {
			_, err := a.f.WriteAt(a.next(), ino, make([]byte, 8192), blocks*4096)
			refused(t, "write beyond the limit", err)
		}
	}
	if q, err := a.f.Quota(ext4.UserQuota, 7); err != nil || q.Space != writers*(blocks+1)*4096 {
		t.Errorf("%+v, %v", q, err)
	}
}

// TestProjects has projects passed on, and kept apart.
func TestProjects(t *testing.T) {
	a, v := limited(t, ext4.ProjectQuota, 42, disk.Quota{SpaceHard: 100, InodesHard: 10})
	f := a.f
	inherit := uint32(disk.FlagProject)
	dir, err := f.Mkdir(a.next(), ext4.Root, "dir", 0o755)
	must(t, err)
	ours := uint32(42)
	must(t, f.Setattr(a.next(), dir.Ino, ext4.SetAttr{Project: &ours, Flags: &inherit}))
	sub, err := f.Mkdir(a.next(), dir.Ino, "sub", 0o755)
	must(t, err)
	file := a.file(sub.Ino, "file", make([]byte, 50<<10), 0)
	outside := a.file(ext4.Root, "outside", make([]byte, 50<<10), 0)
	for ino, want := range map[uint32]struct{ project, flags uint32 }{
		dir.Ino: {42, inherit}, sub.Ino: {42, inherit}, file: {42, 0}, outside: {0, 0},
	} {
		at, err := f.Stat(ino)
		must(t, err)
		if at.Project != want.project || at.Flags&disk.FlagProject != want.flags {
			t.Errorf("inode %d: project %d, flags %#x, want %+v", ino, at.Project, at.Flags, want)
		}
	}
	for what, err := range map[string]error{
		"link":                f.Link(a.next(), outside, dir.Ino, "name"),
		"rename":              f.Rename(a.next(), ext4.Root, "outside", sub.Ino, "name", 0),
		"rename over a file":  f.Rename(a.next(), ext4.Root, "outside", sub.Ino, "file", 0),
		"exchange":            f.Rename(a.next(), ext4.Root, "outside", sub.Ino, "file", ext4.Exchange),
		"exchange, other way": f.Rename(a.next(), sub.Ino, "file", ext4.Root, "outside", ext4.Exchange),
	} {
		if ext4.KindOf(err) != ext4.KindCrossProject {
			t.Errorf("%s: %v, want %v", what, err, ext4.KindCrossProject)
		}
	}
	refused(t, "give a file to a project that is full", f.Setattr(a.next(), outside, ext4.SetAttr{Project: &ours}))
	must(t, f.Truncate(a.next(), outside, 30<<10))
	must(t, f.Setattr(a.next(), outside, ext4.SetAttr{Project: &ours}))
	must(t, f.Rename(a.next(), ext4.Root, "outside", sub.Ino, "name", 0))
	must(t, f.Rename(a.next(), sub.Ino, "name", ext4.Root, "outside again", 0)) // nothing is passed on there
	if q, err := f.Quota(ext4.ProjectQuota, 42); err != nil || q.Inodes != 4 || q.Space != (52+2*4+32)<<10 {
		t.Errorf("%+v, %v", q, err)
	}
	must(t, f.Sync())
	read, err := ext4.Open(v.Clone(), ext4.Options{ReadOnly: true})
	must(t, err)
	if at, err := read.Stat(file); err != nil || at.Project != 42 {
		t.Errorf("read again: %+v, %v", at, err)
	}
}

// TestProjectsNeedRoom gives projects to inodes that were made without room for one.
func TestProjectsNeedRoom(t *testing.T) {
	path := ext4test.Mkfs(t, 16<<20, "-I", "256")
	f, done := openPath(t, path)
	a := &author{t, f, ext4.Op{Now: testNow, Privileged: true}}
	a.file(ext4.Root, "file", nil, 0)
	a.file(ext4.Root, "full", nil, 0)
	project := uint32(5)
	root := uint32(ext4.Root)
	if err := f.Setattr(a.next(), root, ext4.SetAttr{Project: &project}); ext4.KindOf(err) != ext4.KindNotSupported {
		t.Errorf("without the feature: %v", err)
	}
	done()
	succeed(t, "debugfs", "-w", "-R", "set_inode_field file extra_isize 28", path)
	succeed(t, "debugfs", "-w", "-R", "set_inode_field full extra_isize 28", path)
	succeed(t, "tune2fs", "-O", "project,quota", path)
	f, done = openPath(t, path)
	a.f = f
	ino, err := f.Walk("/file", false)
	must(t, err)
	must(t, f.SetXattr(a.next(), ino, "user.a", []byte("kept"), 0))
	must(t, f.Setattr(a.next(), ino, ext4.SetAttr{Project: &project}))
	if at, err := f.Stat(ino); err != nil || at.Project != 5 {
		t.Errorf("%+v, %v", at, err)
	}
	if value, err := f.Xattr(ino, "user.a"); err != nil || string(value) != "kept" {
		t.Errorf("%q, %v", value, err)
	}
	done()
	ext4test.Fsck(t, path)
}
