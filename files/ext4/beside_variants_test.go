package ext4_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/internal/unix"
)

// converted are volumes that the kernel has filled and e2fsprogs then changed,
// as administrators do over the years. Steps are commands on the image, which is
// their last argument if they do not say where.
var converted = []struct {
	name    string
	args    string // of mke2fs
	steps   []string
	refused string // the feature that prevents writing
}{
	{"checksums on", "-O ^metadata_csum", []string{"tune2fs -O metadata_csum"}, ""},
	{"checksums off", "", []string{"tune2fs -O ^metadata_csum"}, ""},
	{"checksums off, uninit_bg", "", []string{"tune2fs -O ^metadata_csum,uninit_bg", "e2fsck -fy"}, ""},
	{"checksums on, inodes of 128", "-I 128 -O ^metadata_csum", []string{"tune2fs -O metadata_csum"}, ""},
	{"checksums on, 32 bits", "-O ^metadata_csum,^64bit", []string{"tune2fs -O metadata_csum"}, ""},
	{"to 64 bits", "-O ^64bit", []string{"resize2fs -b"}, ""},
	{"to 64 bits, no checksums", "-b 1024 -O ^64bit,^metadata_csum", []string{"resize2fs -b"}, ""},
	{"to 32 bits", "", []string{"resize2fs -s"}, ""},
	{"to 32 bits, 1k", "-b 1024", []string{"resize2fs -s"}, ""},
	{"other UUID", "", []string{"tune2fs -U random"}, ""},
	{"other UUID, seed kept", "", []string{"tune2fs -O metadata_csum_seed", "tune2fs -U random"}, ""},
	{"other UUID, uninit_bg", "-O ^metadata_csum,uninit_bg", []string{"tune2fs -f -U random"}, ""},
	{"extents off", "-O ^64bit", []string{"debugfs -w -R feature/-extent", "e2fsck -fy"}, ""},
	{"extents on", "-O ^extent,^64bit", []string{"tune2fs -O extent"}, ""},
	{"extents on, files converted", "-O ^extent,^64bit", []string{"tune2fs -O extent", "e2fsck -fy -E bmap2extent"}, ""},
	{"filetype off", "-O ^metadata_csum", []string{"debugfs -w -R feature/-filetype", "e2fsck -fy"}, ""},
	{"filetype on", "-O ^filetype", []string{"tune2fs -O filetype", "e2fsck -fy"}, ""},
	{"dir_index off", "-O ^metadata_csum", []string{"tune2fs -O ^dir_index", "e2fsck -fy"}, ""},
	{"dir_index off, 1k", "-b 1024 -O ^metadata_csum,uninit_bg", []string{"tune2fs -O ^dir_index", "e2fsck -fy"}, ""},
	{"dir_index on", "-b 1024 -O ^dir_index", []string{"tune2fs -O dir_index"}, ""},
	{"directories optimised", "-b 1024", []string{"e2fsck -fyD"}, ""},
	{"grown", "", []string{"resize2fs", "e2fsck -fy"}, ""},
	{"grown, 1k", "-b 1024", []string{"resize2fs", "e2fsck -fy"}, ""},
	{"grown, meta_bg", "-b 1024 -O meta_bg,^resize_inode", []string{"resize2fs", "e2fsck -fy"}, ""},
	{"grown, no resize inode", "-b 1024 -O ^resize_inode", []string{"resize2fs", "e2fsck -fy"}, ""},
	{"grown, sparse_super2", "-b 1024 -O sparse_super2", []string{"resize2fs", "e2fsck -fy"}, ""},
	{"grown, sparse_super2 with one copy", "-b 1024 -O sparse_super2,^resize_inode -E num_backup_sb=1", []string{"resize2fs", "e2fsck -fy"}, ""},
	{"shrunk", "", []string{"resize2fs IMAGE 40M"}, ""},
	{"shrunk, 1k, no flex_bg", "-b 1024 -O ^flex_bg", []string{"resize2fs IMAGE 38M"}, ""},
	{"shrunk and grown", "-b 1024", []string{"resize2fs -M", "resize2fs"}, ""},
	{"file of orphans", "", []string{"tune2fs -O orphan_file", "e2fsck -fy"}, ""}, // tune2fs 1.47.0 counts its blocks wrong
	{"no file of orphans any more", "-O orphan_file", []string{"tune2fs -O ^orphan_file"}, ""},
	{"journal added", "-O ^has_journal", []string{"tune2fs -O has_journal"}, ""},
	{"journal replaced", "", []string{"tune2fs -O ^has_journal", "tune2fs -J size=8"}, ""},
	{"inodes grown to 512", "-O ^flex_bg", []string{"tune2fs -I 512"}, ""},
	{"inodes grown from 128", "-I 128 -O ^flex_bg", []string{"tune2fs -I 256"}, ""},
	{"inodes of 1024", "-I 1024", nil, ""},
	{"inodes of 512, 1k", "-I 512 -b 1024", nil, ""},
	{"blocks of 2048", "-b 2048 -I 512", nil, ""},
	{"flex groups of 2", "-b 1024 -G 2", nil, ""},
	{"flex groups of 1024", "-b 1024 -G 1024", nil, ""},
	{"groups of 256 blocks", "-b 1024 -g 256 -O ^resize_inode", nil, ""},
	{"sparse_super off", "-b 1024 -O ^sparse_super,^resize_inode", nil, ""},
	{"huge_file off", "", []string{"tune2fs -O ^huge_file"}, ""},
	{"extra_isize off", "-O ^metadata_csum", []string{"tune2fs -O ^extra_isize"}, ""},
	{"dir_nlink off", "", []string{"tune2fs -O ^dir_nlink"}, ""},
	{"everything old", "-b 1024 -r 1 -I 128 -O none,has_journal", nil, ""},
	{"revision 0 geometry, features on", "-b 1024 -I 128 -O none,has_journal", []string{"tune2fs -O dir_index,filetype,sparse_super", "e2fsck -fyD"}, ""},
	{"fast commits allowed", "-O fast_commit", nil, ""},
	{"stable_inodes", "", []string{"tune2fs -O stable_inodes"}, ""},
	{"unsigned hashes", "-b 1024", []string{"debugfs -w -R set_super_value/flags/2", "e2fsck -fyD"}, ""},
	{"hash tea", "-b 1024", []string{"tune2fs -E hash_alg=tea"}, ""},
	{"hash legacy", "-b 1024", []string{"tune2fs -E hash_alg=legacy"}, ""},
	{"default ACLs off", "", []string{"tune2fs -o ^acl,^user_xattr"}, ""},
	{"large_dir", "-b 1024", []string{"tune2fs -O large_dir"}, "large_dir"},
	{"inline_data", "-I 256 -O inline_data", nil, "inline_data"},
	{"verity", "", []string{"tune2fs -O verity"}, "verity"},
	{"mmp", "", []string{"tune2fs -O mmp"}, "mmp"},
}

// TestConvertedVolumesBesideTheKernel plays random operations on each of them,
// by the kernel on one copy and by us on another. It takes some of the volumes
// each time, all with QUINTET_LONG=1.
func TestConvertedVolumesBesideTheKernel(t *testing.T) {
	testenv.Unraced(t)
	seed, steps, every := rand.Uint64(), 250, uint64(8)
	switch {
	case os.Getenv("QUINTET_LONG") != "":
		steps, every = 3000, 1
	case testing.Short():
		steps, every = 120, 20
	}
	for n, v := range converted {
		if uint64(n)%every != seed%every {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			path := convertedVolume(t, v.args, v.steps)
			if v.refused != "" {
				readsAndRefuses(t, path, v.refused)
				return
			}
			besideTheKernel(t, path, "", seed, steps)
		})
	}
}

// convertedVolume is the path of a volume that the kernel has filled and tools changed.
func convertedVolume(t *testing.T, args string, steps []string) string {
	t.Helper()
	const size = 48 << 20
	filled := ext4test.Mkfs(t, size, append(strings.Fields(args), "-N", "4096")...)
	dir, unmount := ext4test.Mount(t, filled, "")
	populate(t, dir, 700)
	shareAttributes(t, dir)
	unmount()
	// A namespace of another process may still have the mount: go on with
	// another file.
	path := filled + ".changed"
	succeed(t, "cp", "--sparse=always", filled, path)
	succeed(t, "e2fsck", "-fy", path) // on which tools insist that change much
	for _, step := range steps {
		words := strings.Fields(step)
		if !strings.Contains(step, "IMAGE") {
			words = append(words, "IMAGE")
		}
		for k := range words {
			words[k] = strings.ReplaceAll(strings.ReplaceAll(words[k], "/", " "), "IMAGE", path)
		}
		if step == "resize2fs" {
			must(t, os.Truncate(path, 2*size))
		}
		if out, code := ext4test.Run(t, words[0], words[1:]...); code != 0 && !(words[0] == "e2fsck" && code == 1) {
			t.Fatalf("%s: status %d: %s", step, code, out)
		}
	}
	return path
}

// shareAttributes gives files equal attributes, which the kernel keeps in one
// block for all of them.
func shareAttributes(t *testing.T, dir string) {
	t.Helper()
	for k := range 30 {
		p := filepath.Join(dir, fmt.Sprintf("shared%d", k))
		must(t, os.WriteFile(p, nil, 0o644))
		must(t, unix.Lsetxattr(p, "trusted.equal", make([]byte, 700)))
	}
}
