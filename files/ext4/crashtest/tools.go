package crashtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/internal/testenv"
)

// toolDirs are searched besides PATH, where they are often missing.
var toolDirs = []string{"/usr/sbin", "/sbin"}

// Tool returns the path of a program, or skips the test.
func Tool(t testing.TB, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range toolDirs {
		if path := filepath.Join(dir, name); exec.Command(path, "-V").Run() == nil {
			return path
		}
	}
	testenv.Skip(t, "needs "+name+" (e2fsprogs, util-linux)")
	return ""
}

// run executes a tool and returns its output, and its exit code if it ran.
func run(path string, args ...string) (output string, code int, err error) {
	command := exec.Command(path, args...)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	err = command.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return out.String(), exit.ExitCode(), nil
	}
	return out.String(), 0, err
}

// Mkfs makes an image file of the given size with mkfs.ext4 and its arguments.
func Mkfs(t testing.TB, image string, size int64, args ...string) {
	t.Helper()
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
	args = append(append([]string{"-q", "-F"}, args...), image)
	if out, code, err := run(Tool(t, "mkfs.ext4"), args...); err != nil || code != 0 {
		t.Fatalf("mkfs.ext4 %s: exit code %d, %v\n%s", strings.Join(args, " "), code, err, out)
	}
}

// Fsck is what e2fsck found.
type Fsck struct {
	Output string
	Code   int // 0 clean; 1 repaired, which a replay alone is not; 4 and more: damaged
}

// E2fsck runs e2fsck with the arguments (-fn to look, -fy to repair, ...).
func E2fsck(t testing.TB, image string, args ...string) Fsck {
	t.Helper()
	out, code, err := run(Tool(t, "e2fsck"), append(args, image)...)
	if err != nil {
		t.Fatalf("e2fsck %s: %v", image, err)
	}
	return Fsck{out, code}
}

// RequireClean fails the test unless e2fsck -fn finds nothing to say.
func RequireClean(t testing.TB, image string) {
	t.Helper()
	if f := E2fsck(t, image, "-fn"); f.Code != 0 {
		t.Fatalf("e2fsck -fn: exit code %d\n%s", f.Code, f.Output)
	}
}

// Debugfs runs commands of debugfs and returns their output. Commands that
// change the image need write.
func Debugfs(t testing.TB, image string, write bool, commands ...string) string {
	t.Helper()
	script := filepath.Join(t.TempDir(), "commands")
	if err := os.WriteFile(script, []byte(strings.Join(commands, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-f", script, image}
	if write {
		args = append([]string{"-w"}, args...)
	}
	out, code, err := run(Tool(t, "debugfs"), args...)
	if err != nil || code != 0 {
		t.Fatalf("debugfs: exit code %d, %v\n%s", code, err, out)
	}
	return out
}

// mapped matches stretches of data blocks as debugfs prints them, (0-3):100-103
// or (4):200, and not those of indirect blocks, (IND):300.
var mapped = regexp.MustCompile(`\((\d+)(?:-(\d+))?\):(\d+)`)

// Blocks returns the data blocks of a file of the image in their order, inode
// being debugfs's way of naming it ("<8>" is the journal).
func Blocks(t testing.TB, image, inode string) []uint64 {
	t.Helper()
	var blocks []uint64
	for _, m := range mapped.FindAllStringSubmatch(Debugfs(t, image, false, "stat "+inode), -1) {
		first, _ := strconv.ParseUint(m[1], 10, 64)
		last, err := strconv.ParseUint(m[2], 10, 64)
		if err != nil {
			last = first
		}
		start, err := strconv.ParseUint(m[3], 10, 64)
		if err != nil || first != uint64(len(blocks)) {
			t.Fatalf("debugfs stat %s: %q does not follow block %d", inode, m[0], len(blocks))
		}
		for i := range last - first + 1 {
			blocks = append(blocks, start+i)
		}
	}
	return blocks
}

// Mount attaches the image to a loop device of its own and mounts it; unmount
// undoes both, and is called at the end of the test at the latest. The test is
// skipped where the host does not allow it.
func Mount(t testing.TB, image, options string) (dir string, unmount func()) {
	t.Helper()
	testenv.RequireRoot(t)
	out, code, err := run(Tool(t, "losetup"), "--show", "-f", image)
	if err != nil || code != 0 {
		testenv.Skip(t, fmt.Sprintf("no loop device: %s %v", out, err))
	}
	device := strings.TrimSpace(out)
	detach := func() {
		if out, code, err := run(Tool(t, "losetup"), "-d", device); err != nil || code != 0 {
			t.Errorf("losetup -d %s: %s %v", device, out, err)
		}
	}
	dir = t.TempDir()
	if out, code, err := run(Tool(t, "mount"), "-t", "ext4", "-o", options, device, dir); err != nil || code != 0 {
		detach()
		t.Fatalf("mount -o %s %s: %s %v", options, image, out, err)
	}
	done := false
	unmount = func() {
		if done {
			return
		}
		done = true
		if out, code, err := run(Tool(t, "umount"), dir); err != nil || code != 0 {
			t.Errorf("umount %s: %s %v", dir, out, err)
		}
		detach()
	}
	t.Cleanup(unmount)
	return dir, unmount
}
