package ext4_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/crashtest"
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/internal/testenv"
)

// TestReapsTheKernelsOrphans takes the image from under a kernel that has open
// files without names, which it keeps on a list or in a file, and recovers it.
// What is left must be what e2fsck leaves, and sound.
func TestReapsTheKernelsOrphans(t *testing.T) {
	testenv.Unraced(t)
	for _, c := range []struct {
		name string
		args []string
	}{
		{"file", []string{"-O", "orphan_file"}},
		{"file, 1k", []string{"-b", "1024", "-O", "orphan_file"}},
		{"file, no checksums", []string{"-O", "orphan_file,^metadata_csum"}},
		{"list", nil},
		{"list, without extents", ext3},
	} {
		t.Run(c.name, func(t *testing.T) { reapKernelOrphans(t, c.args) })
	}
}

// usual is what e2fsck 1.47 mends of every image with orphans taken from under a
// kernel: the kernel does not keep the counts of the superblock, and the file of
// orphans is emptied late.
var usual = regexp.MustCompile(`Free (blocks|inodes) count wrong \(\d+, counted=\d+\).\nFix\? yes|Orphan file \(inode \d+\) block \d+ is not clean.\nClear\? yes`)

// powerLossWhileReaping cuts the power during the recovery, everywhere; what is
// left must still be recovered.
func powerLossWhileReaping(t *testing.T, seed uint64, content []byte) {
	recorder := crashtest.NewRecorder(crashtest.FromBytes(content))
	o := ext4.Options{Now: func() time.Time { return testNow }}
	f, err := ext4.Open(recorder, o)
	must(t, err)
	must(t, f.Sync())
	_, _, samples, _ := sweepSize()
	n, path := 0, filepath.Join(t.TempDir(), "image")
	checked, err := recorder.States(crashtest.Sweep{Seed: seed, Tear: 4096, Samples: samples, Workers: 1}, func(s crashtest.State) error {
		if n++; n%10 == 0 {
			if err := s.Image.WriteFile(path); err != nil {
				return err
			}
			if out, code := ext4test.Run(t, "e2fsck", "-fy", path); code > 1 || strings.Contains(usual.ReplaceAllString(out, ""), "? yes") {
				return fmt.Errorf("e2fsck: exit code %d\n%s", code, out)
			}
		}
		f, err := ext4.Open(s.Image, o)
		if err != nil {
			return err
		}
		if list := f.Orphans(); len(list) != 0 {
			return fmt.Errorf("orphans %v are left", list)
		}
		if err := f.Close(); err != nil {
			return err
		}
		return crashCheck(s.Image)
	})
	must(t, err)
	t.Logf("%d crash states", checked)
}

func reapKernelOrphans(t *testing.T, args []string) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	path := ext4test.Mkfs(t, 32<<20, append(args[:len(args):len(args)], "-N", "4096")...)
	dir, unmount := ext4test.Mount(t, path, "")
	const files = 40
	kept := bytes.Repeat([]byte("kept"), 10_000)
	named, err := os.Create(filepath.Join(dir, "kept"))
	must(t, err)
	_, err = named.Write(kept)
	must(t, err)
	must(t, named.Sync())
	must(t, named.Close())
	var open []*os.File
	defer func() {
		for _, f := range open {
			f.Close()
		}
	}()
	for k := range files {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint("file", k)))
		must(t, err)
		open = append(open, f)
		_, err = f.Write(make([]byte, r.IntN(200_000)))
		must(t, err)
		must(t, f.Sync())
		must(t, os.Remove(f.Name()))
	}
	d, err := os.Open(dir)
	must(t, err)
	must(t, d.Sync())
	must(t, d.Close())
	content, err := os.ReadFile(path) // as after a power failure
	must(t, err)
	for _, f := range open {
		must(t, f.Close())
	}
	open = nil
	unmount()

	powerLossWhileReaping(t, seed, content)
	v := crashtest.FromBytes(content)
	if r := mustBeClean(t, v); r.Orphans != files || !r.Recovered {
		t.Fatalf("%d orphans found, want %d; recovered %v", r.Orphans, files, r.Recovered)
	}
	f, err := ext4.Open(v, ext4.Options{})
	must(t, err)
	if list := f.Orphans(); len(list) != 0 {
		t.Fatalf("orphans %v are left", list)
	}
	ino, err := f.Walk("/kept", true)
	must(t, err)
	p := make([]byte, len(kept))
	if _, err := f.ReadAt(ino, p, 0); err != nil || !bytes.Equal(p, kept) {
		t.Fatalf("what was kept is another: %v", err)
	}
	ours := f.Statfs()
	must(t, f.Close())
	mustBeClean(t, v)
	must(t, v.WriteFile(path))
	ext4test.Fsck(t, path)
	sb, err := ext4.ReadSuperblock(v)
	must(t, err)
	if sb.Has(0, 0, disk.ROCompatOrphanPresent) || sb.LastOrphan != 0 {
		t.Error("the volume is still marked as having orphans")
	}

	must(t, os.WriteFile(path, content, 0o644))
	if out, code := ext4test.Run(t, "e2fsck", "-fy", path); code > 1 {
		t.Fatal(out)
	}
	theirs, err := crashtest.ReadFile(path)
	must(t, err)
	if sb, err = ext4.ReadSuperblock(theirs); err != nil || sb.FreeBlocks != ours.Free || uint64(sb.FreeInodes) != ours.FreeInodes {
		t.Errorf("%d blocks and %d inodes are free, after e2fsck %d and %d, %v", ours.Free, ours.FreeInodes, sb.FreeBlocks, sb.FreeInodes, err)
	}
}
