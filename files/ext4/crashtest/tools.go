package crashtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/files/ext4/ext4test"
)

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
	out, code := ext4test.Run(t, "debugfs", args...)
	if code != 0 {
		t.Fatalf("debugfs: exit code %d\n%s", code, out)
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
