package ext4_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/crashtest"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
)

// faultScript is a fixed sequence that uses every kind of operation. It stops
// at the first failure; done counts the operations that returned, and synced
// those that a sync covered.
func faultScript(f *ext4.FS) (done, synced int, err error) {
	now := testNow
	op := func() *ext4.Op {
		now = now.Add(time.Second)
		return &ext4.Op{Now: now, Privileged: true}
	}
	var dir, file, other ext4.Attr
	for _, step := range []func() error{
		func() error { dir, err = f.Mkdir(op(), ext4.Root, "dir", 0o755); return err },
		func() error { file, err = f.Create(op(), dir.Ino, "file", 0o644); return err },
		func() error {
			_, err := f.WriteAt(op(), file.Ino, []byte(strings.Repeat("abc", 10_000)), 500)
			return err
		},
		func() error { return f.Fsync(file.Ino) },
		func() error { _, err := f.Symlink(op(), dir.Ino, "symlink", strings.Repeat("s", 100)); return err },
		func() error { return f.Link(op(), file.Ino, ext4.Root, "link") },
		func() error { return f.SetXattr(op(), file.Ino, "user.a", []byte(strings.Repeat("v", 500)), 0) },
		func() error { other, err = f.Create(op(), ext4.Root, "other", 0o600); return err },
		func() error { return f.Fallocate(op(), other.Ino, ext4.Allocate, false, 0, 50_000) },
		func() error { _, err := f.WriteAt(op(), other.Ino, []byte("x"), 40_000); return err },
		func() error { return f.Sync() },
		func() error { return f.Fallocate(op(), other.Ino, ext4.PunchHole, true, 4096, 20_000) },
		func() error { return f.Rename(op(), ext4.Root, "other", dir.Ino, "file", 0) },
		func() error { return f.Truncate(op(), file.Ino, 3000) },
		func() error { return f.Sync() },
		func() error { return f.Unlink(op(), dir.Ino, "symlink") },
		func() error { return f.Unlink(op(), ext4.Root, "link") },
		func() error { return f.Fsync(other.Ino) },
		func() error { return f.Unlink(op(), dir.Ino, "file") },
		func() error { return f.Rmdir(op(), ext4.Root, "dir") },
		func() error { return f.Close() },
	} {
		if err := step(); err != nil {
			return done, synced, err
		}
		done++
		switch done {
		case 4, 11, 15, 21:
			synced = done
		}
	}
	return done, synced, nil
}

// faultPromises lists, by path, what a sync after so many steps has promised
// and no later step takes away before the next sync.
func faultPromises(synced int) []string {
	switch synced {
	case 4:
		return []string{"/dir", "/dir/file"}
	case 11:
		return []string{"/dir", "/dir/file", "/link", "/dir/symlink"}
	}
	return nil
}

// TestEveryDeviceOperationFails fails the i-th operation of the device for
// every i, once and for good. The failure is reported, nothing panics or hangs,
// and the volume is recovered to a sound file system with what was promised.
func TestEveryDeviceOperationFails(t *testing.T) {
	stride := int64(1)
	if testing.Short() {
		stride = 7
	}
	for _, sticky := range []bool{false, true} {
		t.Run(fmt.Sprintf("sticky %v", sticky), func(t *testing.T) {
			blank := crashtest.NewImage(8 << 20)
			if err := ext4.Format(blank, ext4.FormatOptions{BlockSize: 1024, JournalBlocks: 1024, Now: testNow, Zeroed: true}); err != nil {
				t.Fatal(err)
			}
			path := t.TempDir() + "/image"
			for i := int64(0); ; i += stride {
				image := blank.Clone()
				faults := &crashtest.Faults{Volume: image, At: i, Sticky: sticky, Reads: true}
				o := ext4.Options{CacheBytes: 1 << 20, Now: func() time.Time { return testNow }}
				synced := 0
				f, err := ext4.Open(faults, o)
				if err == nil {
					_, synced, err = faultScript(f)
				}
				if !faults.Tripped() {
					if err != nil {
						t.Fatalf("nothing was failed, and yet: %v", err)
					}
					t.Logf("%d operations failed in turn", i)
					return
				}
				if !errors.Is(err, crashtest.ErrFault) {
					t.Fatalf("operation %d was failed, and the sequence ended with: %v", i, err)
				}
				if i/stride%4 == 0 {
					if err := fsckState(t, path, image); err != nil {
						t.Fatalf("operation %d was failed: %v", i, err)
					}
				}
				f, err = ext4.Open(image, o)
				if err != nil {
					t.Fatalf("operation %d was failed, then recovery: %v", i, err)
				}
				tree, err := crashSnapshot(f)
				if err != nil {
					t.Fatalf("operation %d was failed, then: %v", i, err)
				}
				for _, path := range faultPromises(synced) {
					if _, ok := tree[path]; !ok {
						t.Fatalf("operation %d was failed after a sync, and %s is lost", i, path)
					}
				}
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestKernelRecoversCrashes mounts crash states in the kernel, whose recovery
// must find the tree that ours finds.
func TestKernelRecoversCrashes(t *testing.T) {
	every := 40
	if testing.Short() {
		every = 200
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := newCrashRun(t, seed, 16<<20, ext4.FormatOptions{BlockSize: 4096}, 4<<20)
	r.syncing = 4
	for range 250 {
		r.step(false)
	}
	r.sync()
	path := t.TempDir() + "/image"
	checked, err := r.recorder.States(crashtest.Sweep{Seed: seed, Tear: 4096, Samples: 1, Every: every, Workers: 1}, func(s crashtest.State) error {
		if err := s.Image.WriteFile(path); err != nil {
			return err
		}
		_, unmount := ext4test.Mount(t, path, "")
		unmount()
		ext4test.Fsck(t, path)
		recovered, err := crashtest.ReadFile(path)
		if err != nil {
			return err
		}
		theirs, err := r.recover(recovered)
		if err != nil {
			return fmt.Errorf("after the kernel's recovery: %w", err)
		}
		ours, err := r.recover(s.Image)
		if err != nil {
			return err
		}
		if a, b := ours.names(), theirs.names(); a != b {
			return fmt.Errorf("the kernel recovered another tree than we:\n%s", crashDiff(a, b))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d crash states mounted", checked)
}
