package ext4_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/files/ext4/crashtest"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
)

// TestCheckRaisesNoFalseAlarm has images that are as they should be, with
// inodes that no name leads to or that nobody can read.
func TestCheckRaisesNoFalseAlarm(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		bad  []int // blocks
	}{
		{"quotas", []string{"-O", "quota,project"}, nil},
		{"quotas and a file of orphans", []string{"-b", "1024", "-O", "quota,project,orphan_file"}, nil},
		{"bad blocks in tables", []string{"-b", "1024", "-O", "^flex_bg"}, []int{8500, 8501, 8502, 16800}},
		{"bad blocks in tables of few checksums", []string{"-b", "1024", "-O", "^flex_bg,^metadata_csum,uninit_bg"}, []int{8500, 8501, 8502, 16800}},
		{"room to grow", []string{"-b", "1024", "-E", "resize=100000000"}, nil},
		{"room to grow with two copies", []string{"-b", "1024", "-O", "sparse_super2", "-E", "resize=100000000"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := ext4test.Mkfs(t, 64<<20, c.args...)
			if c.bad != nil {
				list := filepath.Join(t.TempDir(), "bad")
				must(t, os.WriteFile(list, []byte(strings.Trim(fmt.Sprint(c.bad), "[]")), 0o644))
				if out, code := ext4test.Run(t, "e2fsck", "-fy", "-l", list, path); code > 1 {
					t.Fatal(out)
				}
			}
			ext4test.Fsck(t, path)
			if r := checkPath(t, path); !r.Clean() {
				t.Fatalf("%d problems: %v", r.Count, r.Problems[:min(len(r.Problems), 5)])
			}
		})
	}
}

// TestCheckGoesOn has damage that once ended a check, or that it did not see.
func TestCheckGoesOn(t *testing.T) {
	for _, c := range []struct {
		name     string
		args     []string
		commands []string
		want     string
	}{
		{"attributes beyond the end", nil, []string{"set_inode_field <11> file_acl 999999"}, "inode 11's attributes"},
		{"no journal to replay", nil, []string{"feature needs_recovery", "clri <8>"}, "journal cannot be replayed"},
		{"journal is a directory", nil, []string{"feature needs_recovery", "set_super_value journal_inum 11"}, "journal cannot be replayed"},
		{"no resize inode", nil, []string{"clri <7>"}, "resize inode"},
		{"resize inode with data", nil, []string{"set_inode_field <7> block[0] 4000"}, "resize inode"},
		{"resize inode leads elsewhere", nil, []string{"zap_block -f <7> -p 17 0"}, "resize inode"},
		{"copies are elsewhere", nil, []string{"zap_block -p 17 4"}, "resize inode"},
		{"resize inode of a file system that does not grow", []string{"-O", "^resize_inode"}, []string{"set_inode_field <7> block[DIND] 4000"}, "resize inode"},
		{"index of a file system without", []string{"-O", "^dir_index,^metadata_csum"}, []string{"set_inode_field <11> flags 0x81000"}, "indexed directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := ext4test.Mkfs(t, 64<<20, append(c.args, "-b", "1024")...)
			for _, command := range c.commands {
				if strings.Contains(command, "-f <7>") {
					out := crashtest.Debugfs(t, path, false, "stat <7>")
					_, block, _ := strings.Cut(out, "(DIND):")
					var n int
					if _, err := fmt.Sscan(block, &n); err != nil {
						t.Fatalf("%v in %s", err, out)
					}
					command = fmt.Sprintf("zap_block -p 17 %d", n)
				}
				if out, code := ext4test.Run(t, "debugfs", "-w", "-R", command, path); code != 0 || strings.Contains(out, "sage:") {
					t.Fatalf("debugfs: %s", out)
				}
			}
			if out, code := ext4test.Run(t, "e2fsck", "-fn", path); code == 0 && !strings.Contains(out, "? no") {
				t.Errorf("e2fsck finds nothing: %s", out)
			}
			if r := checkPath(t, path); !strings.Contains(strings.Join(r.Problems, "\n"), c.want) {
				t.Errorf("problems found, none with %q: %v", c.want, r.Problems[:min(len(r.Problems), 5)])
			}
		})
	}
}
