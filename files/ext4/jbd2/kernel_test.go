package jbd2_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/crashtest"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
	"github.com/quintet-os/quintet/files/ext4/jbd2"
	"github.com/quintet-os/quintet/internal/testenv"
)

// guestBlocks is how many blocks of a file the tests below change through the
// journal of the file system that the file is in.
const guestBlocks = 200

// commitToFile makes an ext4 with a file, changes the file's blocks through its
// journal in many transactions, and stops dead. It returns the image and what
// the file must hold after recovery.
func commitToFile(t *testing.T, seed uint64, mkfs []string, o jbd2.Options) (path string, want []byte) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 3))
	path = ext4test.Mkfs(t, 32<<20, mkfs...)
	v := openVolume(t, path)
	want = make([]byte, guestBlocks*v.blockSize)
	for i := range want {
		want[i] = byte(i) | 1 // no block of zeroes, which would become a hole
	}
	content := filepath.Join(t.TempDir(), "content")
	if err := os.WriteFile(content, want, 0o600); err != nil {
		t.Fatal(err)
	}
	crashtest.Debugfs(t, path, true, "write "+content+" guest", "feature needs_recovery")
	blocks := crashtest.Blocks(t, path, "guest")
	if len(blocks) != guestBlocks {
		t.Fatalf("the file has %d blocks", len(blocks))
	}
	file, err := image.Open(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cache, err := buffer.New(file, buffer.Options{BlockSize: v.blockSize, Blocks: v.blocks, Bytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	o.Cache, o.Now = cache, time.Now
	j, err := jbd2.Open(*v.log(file), o)
	if err != nil {
		t.Fatal(err)
	}
	freed := make(map[int]bool)
	for range 400 {
		h, err := j.Start(12)
		if err != nil {
			t.Fatal(err)
		}
		for range 1 + r.IntN(12) {
			i := r.IntN(guestBlocks)
			if freed[i] {
				continue
			}
			block := want[i*v.blockSize : (i+1)*v.blockSize]
			if r.IntN(30) == 0 {
				// It becomes data: revoked, and written past the journal once
				// the commit has ended.
				freed[i] = true
				if err := h.Forget(blocks[i]); err != nil {
					t.Fatal(err)
				}
				h.OnCommit(func() {
					for k := range block {
						block[k] = byte(r.Uint32())
					}
					if err := cache.WriteBlocks(blocks[i], block); err != nil {
						t.Error(err)
					}
				})
				continue
			}
			b, err := cache.Get(blocks[i], 0, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := h.GetWrite(b); err != nil {
				t.Fatal(err)
			}
			for k := range block {
				block[k] = byte(r.Uint32())
			}
			if r.IntN(3) == 0 {
				binary.BigEndian.PutUint32(block, 0xC03B3998)
			}
			copy(b.Data, block)
			if err := h.Dirty(b); err != nil {
				t.Fatal(err)
			}
			b.Release()
		}
		if err := h.Stop(); err != nil {
			t.Fatal(err)
		}
		if r.IntN(5) == 0 {
			if err := j.CommitRunning(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := j.CommitRunning(); err != nil {
		t.Fatal(err)
	}
	stats := j.Stats()
	t.Logf("seed %d: %+v", seed, stats)
	if stats.Revokes == 0 {
		t.Error("nothing was revoked")
	}
	return path, want
}

var guests = []struct {
	name string
	mkfs []string
	jbd2.Options
}{
	{"4k, 64 bit, checksums", []string{"-b", "4096", "-O", "64bit,metadata_csum", "-J", "size=8"}, jbd2.Options{Wide: true, Checksums: true}},
	{"1k, 64 bit, checksums", []string{"-b", "1024", "-O", "64bit,metadata_csum", "-J", "size=1"}, jbd2.Options{Wide: true, Checksums: true}},
	{"2k, 32 bit, checksums", []string{"-b", "2048", "-O", "^64bit,metadata_csum"}, jbd2.Options{Checksums: true}},
	{"1k, 32 bit, plain", []string{"-b", "1024", "-O", "^64bit,^metadata_csum", "-J", "size=1"}, jbd2.Options{}},
	{"4k, 64 bit, plain", []string{"-b", "4096", "-O", "64bit,^metadata_csum"}, jbd2.Options{Wide: true}},
}

// TestE2fsckReplaysOurCommits has e2fsck recover what we committed and did not
// checkpoint, compares its replay with ours, and reads the file in the kernel.
func TestE2fsckReplaysOurCommits(t *testing.T) {
	testenv.Unraced(t)
	for _, g := range guests {
		t.Run(g.name, func(t *testing.T) {
			path, want := commitToFile(t, rand.Uint64(), g.mkfs, g.Options)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			replayBoth(t, before)
			out, code := ext4test.Run(t, "e2fsck", "-fy", path)
			if code > 1 || !strings.Contains(out, "recovering journal") {
				t.Fatalf("e2fsck: exit code %d\n%s", code, out)
			}
			ext4test.Fsck(t, path)
			requireGuest(t, path, want)
		})
	}
}

// TestKernelReplaysOurCommits has the kernel's mount recover instead.
func TestKernelReplaysOurCommits(t *testing.T) {
	testenv.Unraced(t)
	for _, g := range guests {
		t.Run(g.name, func(t *testing.T) {
			path, want := commitToFile(t, rand.Uint64(), g.mkfs, g.Options)
			requireGuest(t, path, want)
			ext4test.Fsck(t, path)
		})
	}
}

// requireGuest mounts the image and reads the file.
func requireGuest(t *testing.T, path string, want []byte) {
	t.Helper()
	dir, unmount := ext4test.Mount(t, path, "")
	defer unmount()
	got, err := os.ReadFile(filepath.Join(dir, "guest"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("the file differs from byte %d on", i)
			}
		}
	}
}
