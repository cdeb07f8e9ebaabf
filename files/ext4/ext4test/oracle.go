// Package ext4test puts the real things beside package ext4 in tests:
// e2fsprogs, and the Linux kernel through a loop device. Trees are compared by
// what both say of them.
//
// Trust: none; these are helpers of tests, and they fail the test.
package ext4test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/testenv"
)

// toolTimeout bounds one run of a tool.
const toolTimeout = 2 * time.Minute

func tool(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		p := filepath.Join(dir, name)
		if info, err := os.Stat(p); err == nil && info.Mode()&0o111 != 0 {
			return p
		}
	}
	testenv.Skip(t, "needs "+name)
	return ""
}

// mke2fsConf fixes what distributions differ in.
const mke2fsConf = `[defaults]
	base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
	blocksize = 4096
	inode_size = 256
	inode_ratio = 16384
[fs_types]
	ext4 = {
		features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
	}
	legacy = {
		hash_alg = legacy
	}
	tea = {
		hash_alg = tea
	}
	small = {
		inode_ratio = 8192
	}
`

func config(t testing.TB) string {
	path := filepath.Join(t.TempDir(), "mke2fs.conf")
	if err := os.WriteFile(path, []byte(mke2fsConf), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// Run runs a tool and returns its output and exit status.
func Run(t testing.TB, name string, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), toolTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool(t, name), args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if name == "mke2fs" {
		cmd.Env = append(cmd.Env, "MKE2FS_CONFIG="+config(t))
	}
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		t.Fatalf("%s %v: %v", name, args, err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%s %v did not end in %v:\n%s", name, args, toolTimeout, out.String())
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// Mkfs makes a file system of size bytes with mkfs.ext4 and returns its path.
func Mkfs(t testing.TB, size int64, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	if out, code := Run(t, "mke2fs", append(append([]string{"-q", "-F", "-t", "ext4"}, args...), path)...); code != 0 {
		t.Fatalf("mke2fs %v: %s", args, out)
	}
	return path
}

// Fsck fails the test unless e2fsck -fn finds the image clean.
func Fsck(t testing.TB, path string) {
	t.Helper()
	if out, code := Run(t, "e2fsck", "-fn", path); code != 0 || strings.Contains(out, "Fix? no") { // status 0 also for some
		t.Fatalf("e2fsck -fn found the image damaged (status %d):\n%s", code, out)
	}
}

// Mount mounts the image with the kernel's ext4 and returns the directory and
// a function that unmounts, which also runs when the test ends.
func Mount(t testing.TB, path, options string) (dir string, unmount func()) {
	t.Helper()
	testenv.RequireRoot(t)
	dir = t.TempDir()
	if options != "" {
		options = "," + options
	}
	if out, code := Run(t, "mount", "-t", "ext4", "-o", "loop"+options, path, dir); code != 0 {
		t.Fatalf("the kernel does not mount the image: %s", out)
	}
	mounted := true
	unmount = func() {
		if mounted {
			mounted = false
			// Another process may have copied the mount into a namespace of its
			// own: what we leave behind must be whole even so.
			if out, code := Run(t, "mount", "-o", "remount,ro", dir); code != 0 {
				t.Errorf("remount: %s", out)
			}
			if out, code := Run(t, "umount", dir); code != 0 {
				t.Errorf("umount: %s", out)
			}
		}
	}
	t.Cleanup(unmount)
	return dir, unmount
}
