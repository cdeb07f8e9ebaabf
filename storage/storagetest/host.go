package storagetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/internal/unix"
)

// sbin is where Debian keeps losetup and mkfs.ext4.
func sbin(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return filepath.Join("/usr/sbin", name)
}

// Command runs a program of the system, and returns what it says.
func Command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(sbin(name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// LoopDevice attaches a file as a loop device until the test's end.
func LoopDevice(t testing.TB, image string) string {
	t.Helper()
	testenv.RequireRoot(t)
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		testenv.Skip(t, err.Error())
	}
	loop := Command(t, "losetup", "--find", "--show", image)
	t.Cleanup(func() { Command(t, "losetup", "--detach", loop) })
	return loop
}

// Tmpfs mounts a file system of size bytes on a new directory until the test's
// end.
func Tmpfs(t testing.TB, size string) string {
	t.Helper()
	testenv.RequireRoot(t)
	dir := t.TempDir()
	Command(t, "mount", "-t", "tmpfs", "-o", "size="+size, "none", dir)
	t.Cleanup(func() { Command(t, "umount", dir) })
	return dir
}

// Image makes a sparse file of size bytes in dir.
func Image(t testing.TB, dir string, size int64) string {
	t.Helper()
	path := filepath.Join(dir, "image")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return path
}

// Descriptor opens path, as a descriptor that no os.File owns.
func Descriptor(path string) (int, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return -1, err
	}
	defer file.Close()
	return unix.Reopen(int(file.Fd()))
}
