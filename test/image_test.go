package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
	"github.com/quintet-os/quintet/files/ext4/inspect"
	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/internal/unix"
)

// quintet runs the built program.
func quintet(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	command := exec.CommandContext(t.Context(), program, args...)
	var out, problems bytes.Buffer
	command.Stdout, command.Stderr = &out, &problems
	if err := command.Run(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Fatal(err)
		}
	}
	return out.String(), problems.String(), command.ProcessState.ExitCode()
}

func mustQuintet(t *testing.T, args ...string) string {
	t.Helper()
	out, problems, status := quintet(t, args...)
	if status != 0 {
		t.Fatalf("quintet %v: status %d: %s%s", args, status, out, problems)
	}
	return out
}

// report runs the program with --json and decodes what it prints.
func report[R any](t *testing.T, args ...string) (r R) {
	t.Helper()
	out := mustQuintet(t, append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("quintet %v printed %q: %v", args, out, err)
	}
	return r
}

// fact finds what a tool says behind a name.
func fact(t *testing.T, text, pattern string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)` + pattern).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("no %q in:\n%s", pattern, text)
	}
	return found[1]
}

func newImage(t *testing.T, args ...string) string {
	path := filepath.Join(t.TempDir(), "image")
	mustQuintet(t, append([]string{"mkfs", "--size", "64M", path}, args...)...)
	return path
}

func TestMkfsMakesWhatDumpe2fsAndE2fsckAccept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	made := report[inspect.FileSystem](t, "mkfs", "--size", "300MiB", "--label", "a label", "--journal", "16M", "--reserved", "1", "--bytes-per-inode", "65536", path)
	ext4test.Fsck(t, path)
	text, _ := ext4test.Run(t, "dumpe2fs", "-h", path)
	for pattern, want := range map[string]any{
		`^Filesystem UUID: +(\S+)$`:       made.UUID,
		`^Filesystem volume name: +(.+)$`: "a label",
		`^Block count: +(\d+)$`:           made.Blocks,
		`^Free blocks: +(\d+)$`:           made.FreeBlocks,
		`^Reserved block count: +(\d+)$`:  made.ReservedBlocks,
		`^Inode count: +(\d+)$`:           made.Inodes,
		`^Free inodes: +(\d+)$`:           made.FreeInodes,
		`^Total journal blocks: +(\d+)$`:  4096,
		`^Filesystem features: +(.+)$`:    strings.Join(made.Features, " "),
	} {
		if got := fact(t, text, pattern); got != decimal(want) {
			t.Errorf("%s: dumpe2fs says %q, mkfs %v", pattern, got, want)
		}
	}
	if again := report[inspect.FileSystem](t, "debug", "ext4", "stat", path); again.UUID != made.UUID || again.FreeBlocks != made.FreeBlocks {
		t.Errorf("stat says %+v, mkfs said %+v", again, made)
	}
	if made.ReservedBlocks != made.Blocks/100 {
		t.Errorf("%d of %d blocks reserved, want one percent", made.ReservedBlocks, made.Blocks)
	}
}

// decimal writes a number or a string as e2fsprogs does.
func decimal(v any) string {
	text, _ := json.Marshal(v)
	return strings.Trim(string(text), `"`)
}

func TestMkfsOverwritesNothingUnasked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	last := make([]byte, 32<<20)
	last[len(last)-1] = 1
	if err := os.WriteFile(path, last, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, problems, status := quintet(t, "mkfs", path); status != 1 || !strings.Contains(problems, "holds data") || !strings.Contains(problems, "--force") {
		t.Fatalf("status %d, %q", status, problems)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, last) {
		t.Fatalf("the image has changed, %v", err)
	}
	mustQuintet(t, "mkfs", "--force", "--label", "first", path)
	if _, problems, status := quintet(t, "mkfs", path); status != 1 || !strings.Contains(problems, `label "first"`) {
		t.Fatalf("status %d, %q: want the label of what is there", status, problems)
	}
	// Zeros are nothing, written or not.
	if err := os.WriteFile(path, make([]byte, 32<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	mustQuintet(t, "mkfs", path)
	ext4test.Fsck(t, path)

	held, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := unix.LockExclusive(int(held.Fd())); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"mkfs", "--force", path}, {"fsck", path}} {
		if _, problems, status := quintet(t, args...); status != 1 || !strings.Contains(problems, "is in use") {
			t.Errorf("%v of a locked image: status %d, %q", args, status, problems)
		}
	}
}

func TestMkfsLeavesAMountedImageAlone(t *testing.T) {
	testenv.RequireRoot(t)
	path := newImage(t)
	ext4test.Mount(t, path, "")
	for _, args := range [][]string{{"mkfs", "--force", path}, {"fsck", path}} {
		if _, problems, status := quintet(t, args...); status != 1 || !strings.Contains(problems, "it backs /dev/loop") {
			t.Errorf("%v of a mounted image: status %d, %q", args, status, problems)
		}
	}
}

func TestImageCommandsNameWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	path, absent := newImage(t), filepath.Join(dir, "absent")
	garbage := filepath.Join(dir, "garbage")
	if err := os.WriteFile(garbage, bytes.Repeat([]byte("garbage "), 1<<15), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"mkfs", 2, "needs the path of one image"},
		{"mkfs " + absent, 2, "say --size"},
		{"mkfs --size 1GB " + absent, 2, "such as 64M"},
		{"mkfs --size -1M " + absent, 2, "such as 64M"},
		{"mkfs --size 1M " + absent, 1, "larger"},
		{"mkfs --size 64M --block-size 3000 " + absent, 2, "block size"},
		{"mkfs --size 64M --label seventeen-letters " + absent, 2, "label"},
		{"mkfs --size 64M --reserved 51 " + absent, 2, "reserved"},
		{"mkfs --size 64M " + filepath.Join(absent, "below"), 1, "no such file"},
		{"mkfs --force " + dir, 1, "is a directory"},
		{"fsck " + absent, 1, "no such file"},
		{"fsck " + garbage, 1, "magic 0x6167 is not ext4's"},
		{"debug", 2, "ext4"},
		{"debug xfs", 2, `no "xfs"`},
		{"debug ext4", 2, "ls, cat, stat or journal"},
		{"debug ext4 rm " + path, 2, `no "rm"`},
		{"debug ext4 ls " + garbage, 1, "magic"},
		{"debug ext4 ls " + path + " /absent", 1, "no such file"},
		{"debug ext4 ls " + path + " / /", 2, "needs an image"},
		{"debug ext4 cat " + path, 2, "a path"},
		{"debug ext4 cat " + path + " /lost+found", 1, "is a directory"},
		{"debug ext4 cat --json " + path + " /lost+found", 2, "no form in JSON"},
		{"debug ext4 stat " + path + " <9999999>", 1, "9999999"},
		{"debug ext4 stat " + path + " <500>", 1, "500"},
	} {
		_, problems, status := quintet(t, strings.Fields(c.args)...)
		if status != c.status || !strings.Contains(problems, c.want) {
			t.Errorf("quintet %s: status %d, %q; want %d and %q", c.args, status, problems, c.status, c.want)
		}
		if _, err := os.Lstat(absent); err == nil {
			t.Fatalf("quintet %s left a file behind", c.args)
		}
	}
}

var imageTime = time.Unix(1_900_000_000, 123_456_789)

// fillImage writes some files, and leaves the journal dirty if closed is false.
func fillImage(t *testing.T, path string, closed bool) {
	t.Helper()
	v, err := image.Open(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	f, err := ext4.Open(v, ext4.Options{Now: func() time.Time { return imageTime }})
	if err != nil {
		t.Fatal(err)
	}
	op := func() *ext4.Op { return &ext4.Op{Now: imageTime, UID: 1000, GID: 70000} }
	a, err := f.Create(op(), ext4.Root, "sparse", 0o640)
	if err == nil {
		_, err = f.WriteAt(op(), a.Ino, bytes.Repeat([]byte("quintet "), 1000), 1<<20)
	}
	if err == nil {
		err = f.SetXattr(op(), a.Ino, "user.colour", []byte("blue"), 0)
	}
	if err == nil {
		_, err = f.Symlink(op(), ext4.Root, "link", "sparse")
	}
	if err == nil {
		_, err = f.Create(op(), ext4.Root, "\x1b[31mred\xff", 0o600)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil && closed {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestDebugSaysWhatDebugfsSays(t *testing.T) {
	path := newImage(t)
	fillImage(t, path, true)
	got := report[inspect.Inode](t, "debug", "ext4", "stat", path, "/sparse")
	theirs, _ := ext4test.Run(t, "debugfs", "-R", "stat /sparse", path)
	for pattern, want := range map[string]any{
		`^Inode: (\d+)`:               got.Inode,
		`Generation: (\d+)`:           got.Generation,
		`Size: (\d+)$`:                got.Size,
		`Group: +(\d+)`:               got.GID,
		`Blockcount: (\d+)`:           got.Sectors,
		`Links: (\d+)`:                got.Links,
		`user\.colour \(4\) = "(.*)"`: string(got.Xattrs["user.colour"]),
		`^\(256-257\):(\d+)-`:         got.Extents[0].Physical,
	} {
		if say := fact(t, theirs, pattern); say != decimal(want) {
			t.Errorf("%s: debugfs says %s, we %v", pattern, say, want)
		}
	}
	if !got.Mtime.Equal(imageTime) || got.Type != "regular" || got.Mode != 0o640 || len(got.Extents) != 1 {
		t.Errorf("got %+v", got)
	}
	where, _ := ext4test.Run(t, "debugfs", "-R", "imap /sparse", path)
	if block := fact(t, where, `located at block (\d+),`); block != decimal(got.Block) {
		t.Errorf("debugfs finds the inode in block %s, we in %d", block, got.Block)
	}
	content := mustQuintet(t, "debug", "ext4", "cat", path, "/link")
	theirs, _ = ext4test.Run(t, "debugfs", "-R", "cat /sparse", path)
	if _, rest, ok := strings.Cut(theirs, "\n"); ok && strings.HasPrefix(theirs, "debugfs ") {
		theirs = rest // its banner
	}
	if content != theirs {
		t.Errorf("cat gives %d bytes, debugfs %d", len(content), len(theirs))
	}
	names := map[string]uint32{}
	for _, e := range report[inspect.Listing](t, "debug", "ext4", "ls", path) {
		name := e.Name
		if e.Bytes != nil {
			name = string(e.Bytes)
		}
		names[name] = e.Inode
	}
	for _, name := range []string{".", "..", "lost+found", "sparse", "link", "\x1b[31mred\xff"} {
		if names[name] == 0 {
			t.Errorf("ls lacks %q: %v", name, names)
		}
	}
	if text := mustQuintet(t, "debug", "ext4", "ls", path); strings.ContainsRune(text, 0x1b) || !strings.Contains(text, "link -> sparse") {
		t.Errorf("ls prints %q", text)
	}
}

func TestDebugAndFsckUnderstandADirtyJournal(t *testing.T) {
	path := newImage(t)
	fillImage(t, path, false)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	j := report[inspect.Journal](t, "debug", "ext4", "journal", path)
	theirs, _ := ext4test.Run(t, "debugfs", "-R", "logdump -a", path)
	if len(j.Transactions) == 0 || !j.Transactions[0].Replayed || j.Damage != "" {
		t.Fatalf("got %+v", j)
	}
	if start := fact(t, theirs, `Journal starts at block (\d+),`); start != decimal(j.Start) {
		t.Errorf("debugfs starts at %s, we at %d", start, j.Start)
	}
	var blocks int
	for _, c := range j.Transactions {
		blocks += len(c.Blocks)
		for _, block := range c.Blocks {
			if !strings.Contains(theirs, "FS block "+decimal(block)+" logged at journal block") {
				t.Errorf("debugfs knows nothing of block %d in transaction %d:\n%s", block, c.Sequence, theirs)
			}
		}
	}
	if n := strings.Count(theirs, "logged at journal block"); n != blocks {
		t.Errorf("debugfs counts %d blocks in the log, we %d", n, blocks)
	}
	if of := report[inspect.Journal](t, "debug", "ext4", "journal", path, "/"); len(of.Transactions) == 0 {
		t.Error("no transaction is said to change the root directory's inode")
	}
	if out := mustQuintet(t, "debug", "ext4", "cat", path, "/sparse"); len(out) != 1<<20+8000 {
		t.Errorf("cat wrote %d bytes", len(out))
	}
	if found := report[inspect.Findings](t, "fsck", path); !found.Clean || !found.Recovered || found.Inodes != 14 {
		t.Errorf("fsck found %+v", found)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("looking has changed the image, %v", err)
	}
	mustQuintet(t, "fsck", "--recover", path)
	if j := report[inspect.Journal](t, "debug", "ext4", "journal", path); j.Start != 0 {
		t.Errorf("the journal is not empty after recovery: %+v", j)
	}
	ext4test.Fsck(t, path)
}

func TestFsckFindsWhatDebugfsBreaks(t *testing.T) {
	path := newImage(t)
	fillImage(t, path, true)
	if out, status := ext4test.Run(t, "debugfs", "-w", "-R", "set_inode_field /sparse links_count 7", path); status != 0 {
		t.Fatal(out)
	}
	out, _, status := quintet(t, "fsck", "--json", path)
	var found inspect.Findings
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	if status != 1 || found.Clean || found.Count == 0 || !strings.Contains(strings.Join(found.Problems, " "), "link") {
		t.Errorf("status %d, %+v", status, found)
	}
	if out, _, status := quintet(t, "fsck", path); status != 1 || !strings.Contains(out, "1 problems") {
		t.Errorf("status %d, %q", status, out)
	}
}
