package ext4_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/crashtest"
)

// exercise does a little of everything and returns the first error that is no
// refusal of the operation itself.
func exercise(f *ext4.FS) error {
	now := testNow
	op := func() *ext4.Op { now = now.Add(time.Second); return &ext4.Op{Now: now, Privileged: true} }
	data := make([]byte, 70000)
	for i := range data {
		data[i] = byte(i)
	}
	var dir, file uint32
	steps := []func() error{
		func() error { a, err := f.Mkdir(op(), ext4.Root, "dir", 0o755); dir = a.Ino; return err },
		func() error { a, err := f.Create(op(), dir, "file", 0o644); file = a.Ino; return err },
		func() error { _, err := f.WriteAt(op(), file, data, 1000); return err },
		func() error { return f.Fallocate(op(), file, ext4.Allocate, false, 200_000, 50_000) },
		func() error { _, err := f.WriteAt(op(), file, data[:5000], 210_000); return err },
		func() error { return f.Fsync(file) },
		func() error { return f.Fallocate(op(), file, ext4.PunchHole, true, 8192, 16384) },
		func() error { return f.SetXattr(op(), file, "user.large", data[:500], 0) },
		func() error { return f.Hold(file) },
		func() error { return f.Link(op(), file, ext4.Root, "link") },
	}
	for i := range 40 {
		name := fmt.Sprintf("a name long enough to fill blocks soon, number %d", i)
		steps = append(steps, func() error { _, err := f.Create(op(), dir, name, 0o600); return err })
	}
	steps = append(steps,
		func() error { return f.Rename(op(), dir, "file", ext4.Root, "moved", 0) },
		func() error { return f.Unlink(op(), ext4.Root, "link") },
		func() error { return f.Sync() },
		func() error { return f.Truncate(op(), file, 3000) },
		func() error { return f.Unlink(op(), ext4.Root, "moved") },
		func() error { return f.Release(op(), file) },
	)
	for _, s := range steps {
		if err := s(); err != nil {
			return err
		}
	}
	return nil
}

// TestEveryOperationOfTheDeviceFailsOnce: whatever fails, the file system says
// so, and what is left recovers to something whole.
func TestEveryOperationOfTheDeviceFailsOnce(t *testing.T) {
	base := crashtest.NewImage(8 << 20)
	if err := ext4.Format(base, ext4.FormatOptions{BlockSize: 1024, Now: testNow, Zeroed: true}); err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return testNow }
	failed := 0
	for i := int64(0); ; i++ {
		volume := base.Clone()
		faults := &crashtest.Faults{Volume: volume, At: i, Sticky: i%2 == 0, Reads: true}
		f, err := ext4.Open(faults, ext4.Options{Now: now, CacheBytes: 1 << 18})
		if err == nil {
			err = exercise(f)
			if e := f.Close(); err == nil {
				err = e
			}
		}
		if !faults.Tripped() {
			if err != nil {
				t.Fatalf("without a failure: %v", err)
			}
			break
		}
		failed++
		if err == nil {
			t.Fatalf("operation %d failed, and nobody was told", i)
		}
		if !errors.Is(err, crashtest.ErrFault) && ext4.KindOf(err) != ext4.KindReadOnly {
			t.Fatalf("operation %d failed; the error does not say so: %v", i, err)
		}
		again, err := ext4.Open(volume, ext4.Options{Now: now})
		if err != nil {
			t.Fatalf("recovery after operation %d failed: %v", i, err)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
		mustBeClean(t, volume)
	}
	t.Logf("%d operations failed", failed)
	if failed < 10 {
		t.Fatal("too few operations were counted")
	}
}
