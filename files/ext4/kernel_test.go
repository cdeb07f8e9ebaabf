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
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
	"github.com/quintet-os/quintet/internal/testenv"
)

// author writes a tree through package ext4.
type author struct {
	t  testing.TB
	f  *ext4.FS
	op ext4.Op
}

func (a *author) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

func (a *author) next() *ext4.Op {
	a.op.Now = a.op.Now.Add(1234567 * time.Nanosecond)
	op := a.op
	return &op
}

func (a *author) file(dir uint32, name string, content []byte, off int64) uint32 {
	a.t.Helper()
	at, err := a.f.Create(a.next(), dir, name, 0o640)
	a.must(err)
	if len(content) > 0 {
		_, err = a.f.WriteAt(a.next(), at.Ino, content, off)
		a.must(err)
	}
	return at.Ino
}

// extents reports whether new files have extents; without, blocks cannot be
// allocated beforehand.
func (a *author) extents() bool {
	sb := a.f.Superblock()
	return sb.Has(0, disk.IncompatExtents, 0)
}

// tree writes what the format offers.
func (a *author) tree(entries int) {
	a.t.Helper()
	rng := rand.New(rand.NewPCG(3, 4))
	content := make([]byte, 3<<20)
	for i := range content {
		content[i] = byte(rng.Uint32())
	}
	f := a.f
	large := a.file(ext4.Root, "large", content, 0)
	a.must(f.Link(a.next(), large, ext4.Root, "hardlink"))
	sparse := a.file(ext4.Root, "sparse", content[:1], 40<<20)
	for i := range int64(900) { // an extent each, so that the tree grows levels
		_, err := f.WriteAt(a.next(), sparse, content[:4096], i*3*4096)
		a.must(err)
	}
	for i := range int64(300) {
		a.must(f.Fallocate(a.next(), sparse, ext4.PunchHole, true, i*9*4096, 4096))
	}
	pre := a.file(ext4.Root, "preallocated", content[:100], 0)
	if a.extents() {
		a.must(f.Fallocate(a.next(), pre, ext4.Allocate, false, 0, 1<<20))
		a.must(f.Fallocate(a.next(), pre, ext4.Allocate, true, 1<<20, 1<<20))
	}
	_, err := f.WriteAt(a.next(), pre, content[:5000], 300_001)
	a.must(err)
	if a.extents() {
		a.must(f.Fallocate(a.next(), large, ext4.ZeroRange, true, 1_000_001, 1_000_000))
	}
	_, err = f.Symlink(a.next(), ext4.Root, "fast", "large")
	a.must(err)
	_, err = f.Symlink(a.next(), ext4.Root, "slow", strings.Repeat("x/", 400))
	a.must(err)
	_, err = f.Mknod(a.next(), ext4.Root, "device", disk.ModeChar|0o600, 300, 70000)
	a.must(err)
	_, err = f.Mknod(a.next(), ext4.Root, "fifo", disk.ModeFIFO|0o600, 0, 0)
	a.must(err)
	for i := range 8 {
		a.must(f.SetXattr(a.next(), large, fmt.Sprintf("user.a%d", i), content[:i*20], 0))
	}
	a.must(f.SetXattr(a.next(), ext4.Root, "trusted.t", []byte("value"), 0))
	past, future := time.Unix(-1e9, 5), time.Unix(9e9, 123456789)
	a.must(f.Setattr(a.next(), pre, ext4.SetAttr{Atime: &past, Mtime: &future}))
	many, err := f.Mkdir(a.next(), ext4.Root, "many", 0o1777)
	a.must(err)
	for i := range entries {
		name := fmt.Sprintf("entry-%d-%s", i, bytes.Repeat([]byte{byte('a' + i%26)}, i%100))
		if i%5 == 0 {
			name = fmt.Sprintf("\xe4\xf6\xfc%d", i)
		}
		a.file(many.Ino, name, content[:i%50], 0)
		if i%3 == 0 {
			a.must(f.Rename(a.next(), many.Ino, name, many.Ino, fmt.Sprintf("renamed-%d", i), 0))
		}
		if i%3 != 0 && i%4 == 1 {
			a.must(f.Unlink(a.next(), many.Ino, name))
		}
	}
	deep := uint32(ext4.Root)
	for i := range 20 {
		d, err := f.Mkdir(a.next(), deep, fmt.Sprintf("level%d", i), 0o755)
		a.must(err)
		deep = d.Ino
	}
	a.file(deep, "leaf", content[:70000], 0)
}

func TestTheKernelReadsWhatWeWrote(t *testing.T) {
	testenv.Unraced(t)
	for _, v := range append(variants, struct {
		name string
		size int64
		args []string
	}{"ours", 64 << 20, nil}) {
		t.Run(v.name, func(t *testing.T) {
			var path string
			if v.name == "ours" {
				path = filepath.Join(t.TempDir(), "image")
				volume, err := image.Create(path, v.size)
				if err != nil {
					t.Fatal(err)
				}
				if err := ext4.Format(volume, ext4.FormatOptions{Now: testNow}); err != nil {
					t.Fatal(err)
				}
				volume.Close()
			} else {
				path = ext4test.Mkfs(t, max(v.size, 64<<20), append(v.args, "-N", "8192")...)
			}
			volume, err := image.Open(path, true)
			if err != nil {
				t.Fatal(err)
			}
			f, err := ext4.Open(volume, ext4.Options{})
			switch v.name {
			case "inline_data", "inline_data 1k inodes", "large_dir":
				if err == nil || !strings.Contains(err.Error(), "cannot write this file system") {
					t.Fatalf("error %v, want a refusal to write", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			a := &author{t, f, ext4.Op{Now: testNow, UID: 1000, GID: 100000}}
			a.tree(1500)
			ours := ext4test.Read(t, f)
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			volume.Close()
			ext4test.Fsck(t, path)
			dir, unmount := ext4test.Mount(t, path, "")
			ext4test.Compare(t, ours, ext4test.KernelTree(t, dir))
			// The kernel goes on where we stopped, and we after it.
			if err := os.WriteFile(filepath.Join(dir, "many", "by the kernel"), []byte("x"), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(dir, "sparse")); err != nil {
				t.Fatal(err)
			}
			unmount()
			if volume, err = image.Open(path, true); err != nil {
				t.Fatal(err)
			}
			defer volume.Close()
			if f, err = ext4.Open(volume, ext4.Options{}); err != nil {
				t.Fatal(err)
			}
			many, err := f.Walk("/many", true)
			if err != nil {
				t.Fatal(err)
			}
			a.f = f
			a.must(f.Unlink(a.next(), many, "by the kernel"))
			a.must(f.Unlink(a.next(), ext4.Root, "large"))
			a.must(f.Close())
			ext4test.Fsck(t, path)
		})
	}
}
