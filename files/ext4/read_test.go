package ext4_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/internal/unix"
)

// populate makes a tree that uses what the format offers, on a mounted kernel
// file system.
func populate(t *testing.T, dir string, inodes int) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	content := make([]byte, 300<<10)
	for i := range content {
		content[i] = byte(rng.Uint32())
	}
	must(os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600))
	must(os.WriteFile(filepath.Join(dir, "small"), []byte("hello"), 0o644))
	must(os.WriteFile(filepath.Join(dir, "large"), content, 0o4755))
	must(os.Link(filepath.Join(dir, "large"), filepath.Join(dir, "hardlink")))
	must(os.Symlink("small", filepath.Join(dir, "fast")))
	must(os.Symlink(string(bytes.Repeat([]byte("x/"), 200)), filepath.Join(dir, "slow")))
	must(os.Chown(filepath.Join(dir, "small"), 70000, 80000))
	must(os.Chtimes(filepath.Join(dir, "small"), time.Unix(5e9, 7), time.Unix(9e9, 123456789)))
	must(os.Chtimes(filepath.Join(dir, "empty"), time.Unix(-5, 7), time.Unix(-1e9, 5)))

	// Every second block is missing, so that the map has many pieces.
	sparse, err := os.Create(filepath.Join(dir, "sparse"))
	must(err)
	for i := range int64(700) {
		_, err := sparse.WriteAt(content[:100], i*8192+17)
		must(err)
	}
	must(sparse.Truncate(6 << 20))
	must(sparse.Sync())
	must(sparse.Close())

	deep := dir
	for i := range 12 {
		deep = filepath.Join(deep, fmt.Sprintf("level%d", i))
		must(os.Mkdir(deep, 0o750))
	}
	must(os.WriteFile(filepath.Join(deep, "leaf"), content[:9000], 0o644))
	many := filepath.Join(dir, "many")
	must(os.Mkdir(many, 0o1777))
	for i := range inodes {
		name := fmt.Sprintf("entry-%d-%s", i, bytes.Repeat([]byte{byte('a' + i%26)}, i%120))
		if i%7 == 0 {
			name = fmt.Sprintf("\xe4\xf6\xfc%d", i) // bytes that are negative as signed characters
		}
		must(os.WriteFile(filepath.Join(many, name), content[:i%50], 0o644))
	}
	for i := range 12 {
		must(unix.Lsetxattr(filepath.Join(dir, "small"), fmt.Sprintf("user.attribute%d", i), content[:i]))
	}
	must(unix.Lsetxattr(filepath.Join(dir, "large"), "user.short", []byte("value")))
	must(unix.Lsetxattr(dir, "trusted.root", content[:200]))
	if out, code := ext4test.Run(t, "mknod", filepath.Join(dir, "device"), "c", "300", "70000"); code != 0 {
		t.Fatal(out)
	}
	if out, code := ext4test.Run(t, "mkfifo", filepath.Join(dir, "fifo")); code != 0 {
		t.Fatal(out)
	}
}

var variants = []struct {
	name string
	size int64
	args []string
}{
	{"default", 64 << 20, nil},
	{"1k", 32 << 20, []string{"-b", "1024"}},
	{"2k", 32 << 20, []string{"-b", "2048"}},
	{"no64bit", 32 << 20, []string{"-O", "^64bit"}},
	{"no metadata_csum", 32 << 20, []string{"-O", "^metadata_csum,uninit_bg"}},
	{"no checksums", 32 << 20, []string{"-O", "^metadata_csum,^uninit_bg"}},
	{"csum seed", 32 << 20, []string{"-O", "metadata_csum_seed"}},
	{"no extents", 32 << 20, []string{"-b", "1024", "-O", "^extent,^64bit"}},
	{"ext2", 32 << 20, []string{"-O", "^has_journal,^extent,^64bit,^flex_bg,^metadata_csum,^huge_file,^dir_nlink,^extra_isize"}},
	{"ext3", 32 << 20, []string{"-I", "128", "-O", "^extent,^64bit,^flex_bg,^metadata_csum"}},
	{"no dir_index", 32 << 20, []string{"-O", "^dir_index"}},
	{"no filetype", 32 << 20, []string{"-O", "^filetype"}},
	{"meta_bg", 64 << 20, []string{"-b", "1024", "-O", "meta_bg,^resize_inode"}},
	{"sparse_super2", 64 << 20, []string{"-b", "1024", "-O", "sparse_super2,^resize_inode"}},
	{"no flex_bg", 64 << 20, []string{"-b", "1024", "-O", "^flex_bg"}},
	{"inline_data", 32 << 20, []string{"-O", "inline_data"}},
	{"inline_data 1k inodes", 32 << 20, []string{"-I", "1024", "-O", "inline_data"}},
	{"large_dir", 32 << 20, []string{"-b", "1024", "-O", "large_dir"}},
	{"orphan_file", 32 << 20, []string{"-O", "orphan_file"}},
	{"small groups", 96 << 20, []string{"-b", "1024", "-g", "2048"}},
	{"hash legacy", 32 << 20, []string{"-b", "1024", "-T", "legacy"}},
	{"hash tea", 32 << 20, []string{"-b", "1024", "-T", "tea"}},
	{"no journal", 32 << 20, []string{"-O", "^has_journal"}},
}

func TestReadsWhatTheKernelWrote(t *testing.T) {
	testenv.Unraced(t)
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			path := ext4test.Mkfs(t, v.size, append(v.args, "-N", "8192")...)
			for _, sign := range []string{"", "unsigned"} {
				if sign == "unsigned" {
					if v.name != "default" && v.name[0] != 'h' {
						break
					}
					path = ext4test.Mkfs(t, v.size, append(v.args, "-N", "8192")...)
					if out, code := ext4test.Run(t, "debugfs", "-w", "-R", "set_super_value flags 2", path); code != 0 {
						t.Fatal(out)
					}
				}
				dir, unmount := ext4test.Mount(t, path, "")
				populate(t, dir, 1500)
				unmount() // the kernel now counts what it had delayed
				dir, unmount = ext4test.Mount(t, path, "ro")
				theirs := ext4test.KernelTree(t, dir)
				unmount()
				volume, err := image.Open(path, false)
				if err != nil {
					t.Fatal(err)
				}
				f, err := ext4.Open(volume, ext4.Options{ReadOnly: true})
				if err != nil {
					t.Fatal(err)
				}
				ext4test.Compare(t, ext4test.Read(t, f), theirs)
				f.Close()
				volume.Close()
			}
		})
	}
}

func TestRefusesWhatItCannotRead(t *testing.T) {
	for _, v := range []struct{ name, want string }{{"bigalloc", "bigalloc"}, {"encrypt", "encrypt"}, {"journal", "damaged superblock"}} {
		t.Run(v.name, func(t *testing.T) {
			args := []string{"-O", v.name}
			if v.name == "journal" {
				args = []string{"-O", "^has_journal"}
			}
			path := ext4test.Mkfs(t, 32<<20, args...)
			volume, err := image.Open(path, v.name == "journal")
			if err != nil {
				t.Fatal(err)
			}
			defer volume.Close()
			if v.name == "journal" {
				if err := volume.WriteZeroes(0, 4096); err != nil {
					t.Fatal(err)
				}
			}
			_, err = ext4.Open(volume, ext4.Options{ReadOnly: true})
			if err == nil || !strings.Contains(err.Error(), v.want) {
				t.Fatalf("error %v, want one that names %s", err, v.want)
			}
		})
	}
}

// TestDamageIsAnErrorAndNothingElse flips bytes of real images and reads all
// that can be reached: nothing may panic or go on for ever.
func TestDamageIsAnErrorAndNothingElse(t *testing.T) {
	testenv.Unraced(t)
	const size = 16 << 20
	for _, v := range []struct {
		name string
		args []string
	}{
		{"checksums", []string{"-b", "1024"}},
		{"none", []string{"-b", "1024", "-O", "^metadata_csum,^uninit_bg,^64bit"}},
		{"indirect", []string{"-b", "1024", "-O", "^metadata_csum,^extent,^64bit"}},
		{"inline", []string{"-O", "^metadata_csum,inline_data"}},
	} {
		t.Run(v.name, func(t *testing.T) {
			path := ext4test.Mkfs(t, size, append(v.args, "-N", "1024")...)
			dir, unmount := ext4test.Mount(t, path, "")
			populate(t, dir, 300)
			unmount()
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			rounds := 100
			if os.Getenv("QUINTET_LONG") != "" {
				rounds = 1000
			}
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 0))
			used := usedOffsets(raw)
			for range rounds {
				p := bytes.Clone(raw)
				for range 1 + rng.IntN(40) {
					at := used[rng.IntN(len(used))] + rng.IntN(64)
					p[at] ^= byte(1 << rng.IntN(8))
				}
				volume := image.NewMemory(size)
				if err := volume.Load(p); err != nil {
					t.Fatal(err)
				}
				f, err := ext4.Open(volume, ext4.Options{NoRecovery: true})
				if err != nil {
					continue
				}
				visitAll(f)
				f.Close()
				_, _ = ext4.Check(volume)
				if f, err = ext4.Open(volume, ext4.Options{}); err == nil {
					changeAll(f)
					f.Close()
				}
			}
		})
	}
}

// usedOffsets lists the pieces of 64 bytes that hold anything.
func usedOffsets(raw []byte) []int {
	var out []int
	zero := make([]byte, 64)
	for at := 1024; at < len(raw); at += 64 {
		if !bytes.Equal(raw[at:at+64], zero) {
			out = append(out, at)
		}
	}
	return out
}

// visitAll reads every inode by number and everything below it.
func visitAll(f *ext4.FS) {
	buf := make([]byte, 64<<10)
	for ino := range uint32(1100) {
		a, err := f.Stat(ino)
		if err != nil {
			continue
		}
		names, _ := f.Xattrs(ino)
		for _, n := range names {
			f.Xattr(ino, n)
		}
		f.Readlink(ino)
		f.ReadAt(ino, buf, 0)
		f.ReadAt(ino, buf, int64(a.Size/2))
		f.SeekHole(ino, 0)
		var listed []string
		f.ReadDir(ino, 0, func(e ext4.DirEntry) bool {
			listed = append(listed, e.Name)
			return len(listed) < 5000
		})
		for _, n := range listed {
			f.Lookup(ino, n)
		}
	}
}
