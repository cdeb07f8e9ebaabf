package ext4_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/crashtest"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/storage"
)

func mustBeClean(t testing.TB, v storage.Volume) *ext4.Report {
	t.Helper()
	r, err := ext4.Check(v)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Clean() {
		t.Fatalf("%d problems:\n%s", r.Count, strings.Join(r.Problems[:min(10, len(r.Problems))], "\n"))
	}
	return r
}

func checkPath(t testing.TB, path string) *ext4.Report {
	t.Helper()
	v, err := image.Open(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	r, err := ext4.Check(v)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCheckFindsKernelImagesClean(t *testing.T) {
	testenv.Unraced(t)
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			path := ext4test.Mkfs(t, v.size, append(v.args, "-N", "8192")...)
			dir, unmount := ext4test.Mount(t, path, "")
			populate(t, dir, 1500)
			unmount()
			r := checkPath(t, path)
			if !r.Clean() {
				t.Fatalf("%d problems:\n%s", r.Count, strings.Join(r.Problems[:min(10, len(r.Problems))], "\n"))
			}
			if r.Dirs < 15 || r.Inodes < 1500 {
				t.Fatalf("found only %d directories and %d inodes", r.Dirs, r.Inodes)
			}
		})
	}
}

// TestCheckFindsDamage makes one kind of damage at a time, which e2fsck must
// see as well.
func TestCheckFindsDamage(t *testing.T) {
	testenv.Unraced(t)
	for _, c := range []struct{ name, command, want string }{
		{"links", "set_inode_field /small links_count 7", "has 1 links, says 7"},
		{"free inode in use", "freei /small", "not in use"},
		{"cleared inode", "clri /empty", "inode"},
		{"free block in use", "freeb 300 200", "in use, but marked free"},
		{"lost block", "setb 12000 1", "marked, but has no owner"},
		{"wrong size", "set_inode_field /large size 5", "ends before its block"},
		{"sectors", "set_inode_field /large blocks 8", "counts 8 sectors"},
		{"no name", "unlink /empty", "has no name"},
		{"shared block", "set_inode_field /small block[5] 1200", "another owner"},
		{"free blocks of the superblock", "set_super_value free_blocks_count 77", "superblock"},
		{"free blocks of a group", "set_block_group 0 free_blocks_count 77", "group descriptor"},
		{"free inodes of a group", "set_block_group 0 free_inodes_count 3", "group descriptor"},
		{"directories of a group", "set_block_group 0 used_dirs_count 99", "group descriptor"},
		{"type of file", "set_inode_field /small mode 0", "mode"},
		{"extent depth", "set_inode_field /large block[1] 0x00090004", "extent"},
		{"mode of a directory", "set_inode_field /many mode 0100644", "type"},
		{"deletion time", "set_inode_field /small dtime 1700000000", "deletion"},
		{"attributes of no file system", "feature -ext_attr", "has attributes"},
		{"data in the inode", "set_inode_field /small flags 0x10000000", "holds its data"},
		{"extra fields", "set_super_value want_extra_isize 1024", "extra fields"},
		{"far attributes", "set_inode_field /small file_acl 0x100000000", "beyond 2^32"},
		{"orphans", "set_super_value last_orphan 3000", "orphan"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := ext4test.Mkfs(t, 64<<20, "-O", "^64bit", "-N", "4096")
			dir, unmount := ext4test.Mount(t, path, "")
			populate(t, dir, 300)
			unmount()
			if out, code := ext4test.Run(t, "debugfs", "-w", "-R", c.command, path); code != 0 || strings.Contains(out, "sage:") {
				t.Fatalf("debugfs: %s", out)
			}
			if out, code := ext4test.Run(t, "e2fsck", "-fn", path); code == 0 && !strings.Contains(out, "Fix?") && c.name != "orphans" { // -n does not look at those
				t.Fatalf("e2fsck finds nothing: %s", out)
			}
			r := checkPath(t, path)
			all := strings.Join(r.Problems, "\n")
			if r.Clean() || !strings.Contains(all, c.want) {
				t.Fatalf("problems found, none with %q:\n%s", c.want, all)
			}
		})
	}
}

// TestCheckKnowsBadBlocks has blocks that must not be used, which belong to an
// inode of their own.
func TestCheckKnowsBadBlocks(t *testing.T) {
	list := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(list, []byte("9000\n9001\n12345\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	path := ext4test.Mkfs(t, 64<<20, "-l", list)
	ext4test.Fsck(t, path)
	if r := checkPath(t, path); !r.Clean() {
		t.Fatal(r.Problems)
	}
	table := crashtest.Debugfs(t, path, true, "set_inode_field <1> block[1] 30")
	if out, code := ext4test.Run(t, "e2fsck", "-fn", path); code == 0 {
		t.Fatalf("e2fsck finds nothing: %s%s", table, out)
	}
	if r := checkPath(t, path); !strings.Contains(strings.Join(r.Problems, "\n"), "block 30 has another owner") {
		t.Fatalf("problems found: %s", r.Problems)
	}
}

func TestCheckReplaysInMemory(t *testing.T) {
	m := newModel(t, 7, 64<<20, ext4.FormatOptions{})
	for range 300 {
		m.step()
	}
	if err := m.f.Sync(); err != nil {
		t.Fatal(err)
	}
	if r := mustBeClean(t, m.volume); !r.Recovered {
		t.Fatal("nothing was replayed")
	}
	m.check()
}
