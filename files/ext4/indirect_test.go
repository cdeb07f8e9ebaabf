package ext4_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/crashtest"
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
	"github.com/quintet-os/quintet/internal/testenv"
)

// ext3 are the arguments that make mkfs.ext4 make what mkfs.ext3 did: files
// without extents, inodes without extra fields, no checksums. The rest is fixed
// so that a seed is enough to repeat a run.
var ext3 = []string{"-I", "128", "-O", "^extent,^64bit,^flex_bg,^metadata_csum,^huge_file,^dir_nlink,^extra_isize",
	"-U", "01234567-89ab-cdef-0123-456789abcdef", "-E", "hash_seed=01234567-89ab-cdef-0123-456789abcdef,root_owner=0:0"}

// TestFilesWithoutExtentsMatchTheModel plays random operations where every file
// and directory is mapped by blocks of pointers.
func TestFilesWithoutExtentsMatchTheModel(t *testing.T) {
	testenv.Unraced(t)
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	for _, blockSize := range []string{"1024", "4096"} {
		path := ext4test.Mkfs(t, 24<<20, append(ext3, "-b", blockSize, "-N", "4096")...)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for range rounds {
			seed := rand.Uint64()
			t.Run(fmt.Sprintf("blocks of %s, seed %d", blockSize, seed), func(t *testing.T) {
				playAndReduce(t, seed, func() *model {
					v := image.NewMemory(int64(len(content)))
					if err := v.Load(content); err != nil {
						t.Fatal(err)
					}
					m := newModelOf(t, seed, v)
					m.long, m.mapped = true, true
					return m
				})
			})
		}
	}
}

// TestPowerLossInFilesWithoutExtents cuts the power at every write.
func TestPowerLossInFilesWithoutExtents(t *testing.T) {
	rounds, steps, samples, fsck := sweepSize()
	content, err := os.ReadFile(ext4test.Mkfs(t, 8<<20, append(ext3, "-b", "1024", "-N", "1024", "-J", "size=1")...))
	if err != nil {
		t.Fatal(err)
	}
	for range max(1, rounds/4) {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			r := newCrashRunOf(t, seed, crashtest.FromBytes(content), 1<<20)
			r.syncing = 2
			for range steps {
				r.step(true)
			}
			r.sync()
			scatteredFile(r)
			r.sync()
			t.Logf("%d crash states", r.sweep(crashtest.Sweep{Seed: seed, Tear: 1024, Samples: samples}, fsck))
		})
	}
}

// scatteredFile makes a file of many pieces, so that its shortening and its
// removal each take several transactions.
func scatteredFile(r *crashRun) {
	var file ext4.Attr
	r.do("create scattered", func() (err error) { file, err = r.f.Create(r.op(), ext4.Root, "scattered", 0o644); return err })
	p := bytes.Repeat([]byte("data"), 256)
	for range 150 {
		off := int64(r.rng.IntN(600)) * 2048
		r.do(fmt.Sprintf("write scattered at %d", off), func() error { _, err := r.f.WriteAt(r.op(), file.Ino, p, off); return err })
	}
	r.fsync(file.Ino)
	r.do("punch scattered", func() error { return r.f.Fallocate(r.op(), file.Ino, ext4.PunchHole, true, 100<<10, 200<<10) })
	r.do("truncate scattered", func() error { return r.f.Truncate(r.op(), file.Ino, 500_000) })
	r.sync()
	r.do("unlink scattered", func() error { return r.f.Unlink(r.op(), ext4.Root, "scattered") })
}

// TestBlockMapReachesItsEnd writes below every level of pointers, up to where
// the kernel too finds the file too large, and takes it all away again, in
// turns with the kernel.
func TestBlockMapReachesItsEnd(t *testing.T) {
	path := ext4test.Mkfs(t, 32<<20, append(ext3, "-b", "1024")...)
	const per = 1024 / 4
	const end = (12 + per + per*per + per*per*per) * 1024
	offsets := []int64{0, 11*1024 + 5, 12 * 1024, 267*1024 + 1000, 268*1024 + 3, (268+65536)*1024 - 30, (268 + 65536) * 1024, end / 2, end - 20}
	text := []byte("as far as it reaches")
	open := func() (*ext4.FS, func()) {
		v, err := image.Open(path, true)
		if err != nil {
			t.Fatal(err)
		}
		f, err := ext4.Open(v, ext4.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return f, func() {
			if err := errors.Join(f.Close(), v.Close()); err != nil {
				t.Fatal(err)
			}
			ext4test.Fsck(t, path)
			if r := checkPath(t, path); !r.Clean() {
				t.Fatal(r.Problems)
			}
		}
	}
	op := &ext4.Op{Now: testNow, Privileged: true}
	f, closeFS := open()
	a, err := f.Create(op, ext4.Root, "file", 0o644)
	if err != nil {
		t.Fatal(err)
	}
	for _, off := range offsets {
		if _, err := f.WriteAt(op, a.Ino, text, off); err != nil {
			t.Fatalf("at %d: %v", off, err)
		}
	}
	if _, err := f.WriteAt(op, a.Ino, text, end-int64(len(text))+1); ext4.KindOf(err) != ext4.KindTooBig {
		t.Fatalf("past the end: %v", err)
	}
	if err := f.Fallocate(op, a.Ino, ext4.Allocate, false, 0, 4096); ext4.KindOf(err) != ext4.KindNotSupported {
		t.Fatalf("preallocation: %v", err)
	}
	closeFS()

	dir, unmount := ext4test.Mount(t, path, "")
	file, err := os.OpenFile(filepath.Join(dir, "file"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, off := range offsets {
		p := make([]byte, len(text))
		if _, err := file.ReadAt(p, off); err != nil || !bytes.Equal(p, text) {
			t.Fatalf("the kernel reads %q at %d, %v", p, off, err)
		}
	}
	if _, err := file.WriteAt(text[:1], end); !errors.Is(err, syscall.EFBIG) {
		t.Fatalf("the kernel writes past the end: %v", err)
	}
	if _, err := file.WriteAt(text, end/4); err != nil { // a tree the kernel made, for us to cut
		t.Fatal(err)
	}
	file.Close()
	unmount()

	f, closeFS = open()
	if err := f.Fallocate(op, a.Ino, ext4.PunchHole, true, 5000, end/3); err != nil {
		t.Fatal(err)
	}
	if off, err := f.SeekData(a.Ino, 6000); err != nil || off != end/2&^1023 {
		t.Fatalf("data is at %d, %v", off, err)
	}
	closeFS()
	f, closeFS = open()
	if err := f.Truncate(op, a.Ino, (268+65536)*1024); err != nil {
		t.Fatal(err)
	}
	if a, err = f.Stat(a.Ino); err != nil || a.Blocks != 2 { // of 512 bytes: one block is left
		t.Fatalf("%d sectors are left, %v", a.Blocks, err)
	}
	closeFS()
	f, closeFS = open()
	if err := f.Unlink(op, ext4.Root, "file"); err != nil {
		t.Fatal(err)
	}
	closeFS()
}

// TestGreatestSizeIsTheKernels compares where files of each kind end.
func TestGreatestSizeIsTheKernels(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
	}{
		{"blocks of 1024", append(ext3[:len(ext3):len(ext3)], "-b", "1024")},
		{"blocks of 4096", append(ext3[:len(ext3):len(ext3)], "-b", "4096")},
		{"huge_file", []string{"-b", "4096", "-O", "^extent,^64bit,huge_file"}},
		{"extents", []string{"-b", "4096"}},
		{"extents, no huge_file", []string{"-b", "4096", "-O", "^huge_file"}},
		{"extents of 1024, no huge_file", []string{"-b", "1024", "-O", "^huge_file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := ext4test.Mkfs(t, 32<<20, c.args...)
			dir, unmount := ext4test.Mount(t, path, "")
			name := filepath.Join(dir, "file")
			if err := os.WriteFile(name, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			theirs, over := int64(0), int64(1)<<62
			for theirs+1 < over {
				middle := theirs + (over-theirs)/2
				if os.Truncate(name, middle) == nil {
					theirs = middle
				} else {
					over = middle
				}
			}
			unmount()
			v, err := image.Open(path, true)
			if err != nil {
				t.Fatal(err)
			}
			defer v.Close()
			f, err := ext4.Open(v, ext4.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			ino, err := f.Walk("/file", true)
			if err != nil {
				t.Fatal(err)
			}
			op := &ext4.Op{Now: testNow}
			if err := f.Truncate(op, ino, theirs); err != nil {
				t.Errorf("the kernel's greatest size, %d: %v", theirs, err)
			}
			if err := f.Truncate(op, ino, theirs+1); !errors.Is(err, ext4.KindTooBig) {
				t.Errorf("a byte more than the kernel's greatest size, %d: %v", theirs, err)
			}
			if sb := f.Superblock(); sb.Has(0, 0, disk.ROCompatHugeFile) != (c.name == "huge_file" || c.name == "extents") {
				t.Errorf("huge_file is not as it was meant")
			}
		})
	}
}
