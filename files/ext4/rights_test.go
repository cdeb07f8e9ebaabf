package ext4_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/internal/unix"
)

// capability is what setcap cap_net_raw+ep stores.
var capability = []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

const capabilityName = "security.capability"

// TestChangesTakeRightsAsTheKernelDoes changes files that lend rights to who
// runs them, by the superuser and by somebody else, and compares what is left.
func TestChangesTakeRightsAsTheKernelDoes(t *testing.T) {
	path := ext4test.Mkfs(t, 32<<20)
	dir, unmount := ext4test.Mount(t, path, "")
	const user, group = 1234, 4321
	must(t, os.Chmod(dir, 0o777))
	must(t, os.Chmod(filepath.Dir(dir), 0o755)) // for the other user
	changes := []struct {
		name   string
		kernel string // a command of the shell
		ours   func(f *ext4.FS, op *ext4.Op, ino uint32) error
	}{
		{"overwrite", "dd if=/dev/zero bs=100 count=1 conv=notrunc status=none of=\"$1\"", func(f *ext4.FS, op *ext4.Op, ino uint32) error {
			_, err := f.WriteAt(op, ino, make([]byte, 100), 0)
			return err
		}},
		{"append", "echo more >> \"$1\"", func(f *ext4.FS, op *ext4.Op, ino uint32) error {
			_, err := f.WriteAt(op, ino, []byte("more\n"), 20_000)
			return err
		}},
		{"truncate", "truncate -s 5000 \"$1\"", func(f *ext4.FS, op *ext4.Op, ino uint32) error { return f.Truncate(op, ino, 5000) }},
		{"allocate", "fallocate -l 50000 \"$1\"", func(f *ext4.FS, op *ext4.Op, ino uint32) error {
			return f.Fallocate(op, ino, ext4.Allocate, false, 0, 50_000)
		}},
		{"punch", "fallocate -p -o 0 -l 8192 \"$1\"", func(f *ext4.FS, op *ext4.Op, ino uint32) error {
			return f.Fallocate(op, ino, ext4.PunchHole, true, 0, 8192)
		}},
		{"zero", "fallocate -z -l 8192 \"$1\"", func(f *ext4.FS, op *ext4.Op, ino uint32) error {
			return f.Fallocate(op, ino, ext4.ZeroRange, false, 0, 8192)
		}},
		{"chown", "chown :4321 \"$1\"", func(f *ext4.FS, op *ext4.Op, ino uint32) error {
			gid := uint32(group)
			return f.Setattr(op, ino, ext4.SetAttr{GID: &gid})
		}},
		{"chmod", "chmod 4711 \"$1\"", func(f *ext4.FS, op *ext4.Op, ino uint32) error {
			mode := uint16(0o4711)
			return f.Setattr(op, ino, ext4.SetAttr{Mode: &mode})
		}},
	}
	type file struct {
		name   string
		change int
		root   bool
	}
	var files []file
	for n := range changes {
		for _, mode := range []uint32{0o777, 0o4777, 0o2777, 0o6777, 0o2767, 0o6767} {
			for _, owner := range []uint32{group, 9999} { // of the group: the caller's, another
				for _, with := range []string{"plain", "capability", "block"} {
					for _, root := range []bool{true, false} {
						f := file{fmt.Sprintf("%s %o %d %s %t", changes[n].name, mode, owner, with, root), n, root}
						if !root && owner == 9999 && changes[n].name == "chmod" {
							continue // the kernel looks at who may set the bit, as callers do here
						}
						files = append(files, f)
						for _, side := range []string{"ours ", "theirs "} {
							at := filepath.Join(dir, side+f.name)
							must(t, os.WriteFile(at, make([]byte, 20_000), 0o600))
							must(t, os.Chown(at, user, int(owner)))
							if with == "block" {
								must(t, unix.Lsetxattr(at, "user.long", make([]byte, 2000)))
								must(t, unix.Lsetxattr(at, "user.short", []byte("x")))
							}
							if with != "plain" {
								must(t, unix.Lsetxattr(at, capabilityName, capability))
							}
							must(t, os.Chmod(at, os.FileMode(mode&0o777)|setBits(mode)))
						}
					}
				}
			}
		}
	}
	for _, f := range files {
		args := []string{"sh", "-c", changes[f.change].kernel, "sh", filepath.Join(dir, "theirs "+f.name)}
		if !f.root {
			args = append([]string{"setpriv", "--reuid", fmt.Sprint(user), "--regid", fmt.Sprint(group), "--clear-groups"}, args...)
		}
		succeed(t, args[0], args[1:]...)
	}
	unmount()
	v, closeAll := openPath(t, path)
	left := func(name string) string {
		ino, err := v.Lookup(ext4.Root, name)
		must(t, err)
		a, err := v.Stat(ino)
		must(t, err)
		names, err := v.Xattrs(ino)
		must(t, err)
		slices.Sort(names)
		return fmt.Sprintf("%o %q", a.Mode, names)
	}
	for _, f := range files {
		ino, err := v.Lookup(ext4.Root, "ours "+f.name)
		must(t, err)
		op := &ext4.Op{Now: testNow, UID: user, GID: group, Privileged: f.root}
		must(t, changes[f.change].ours(v, op, ino))
		if ours, theirs := left("ours "+f.name), left("theirs "+f.name); ours != theirs {
			t.Errorf("%s: %s, by the kernel %s", f.name, ours, theirs)
		}
	}
	closeAll()
	ext4test.Fsck(t, path)
}

func setBits(mode uint32) (m os.FileMode) {
	if mode&0o4000 != 0 {
		m |= os.ModeSetuid
	}
	if mode&0o2000 != 0 {
		m |= os.ModeSetgid
	}
	return m
}
