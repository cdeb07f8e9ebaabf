package client_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/quintet-os/quintet/storage"
	"github.com/quintet-os/quintet/storage/client"
	"github.com/quintet-os/quintet/storage/device"
	"github.com/quintet-os/quintet/storage/storagetest"
)

const (
	stripe  = 64 << 10
	stripes = 32
	half    = stripes / 2 * stripe
)

// fault is something that happens to the storage behind a volume while it is in
// use. From then on operations on the second half fail, and those on the first
// do not.
type fault struct {
	op   storage.Op
	kind storage.Kind
	// open makes a device of 32 stripes; strike makes the fault happen, and mend,
	// if there is a remedy, undoes it.
	open func(t *testing.T) (path string, strike, mend func())
}

var faults = map[string]fault{
	"file cut short": {storage.OpRead, storage.KindGone, func(t *testing.T) (string, func(), func()) {
		path := storagetest.Image(t, t.TempDir(), stripes*stripe)
		return path, func() { truncate(t, path, half) }, func() { truncate(t, path, stripes*stripe) }
	}},
	"loop device whose file was cut short": {storage.OpRead, storage.KindIO, func(t *testing.T) (string, func(), func()) {
		path := storagetest.Image(t, t.TempDir(), stripes*stripe)
		return storagetest.LoopDevice(t, path), func() { truncate(t, path, half) }, func() { truncate(t, path, stripes*stripe) }
	}},
	"loop device that has shrunk": {storage.OpWrite, storage.KindGone, func(t *testing.T) (string, func(), func()) {
		path := storagetest.Image(t, t.TempDir(), stripes*stripe)
		loop := storagetest.LoopDevice(t, path)
		resize := func(size int64) func() {
			return func() {
				truncate(t, path, size)
				storagetest.Command(t, "losetup", "--set-capacity", loop)
			}
		}
		return loop, resize(half), resize(stripes * stripe)
	}},
	// A loop device on a full disk is no such case: when its file takes a write
	// only in part, Linux 6.18 has been seen to report the whole as done.
	"full disk": {storage.OpWrite, storage.KindNoSpace, fullDisk},
}

// fullDisk makes a sparse file, its first half written, on a disk that fill
// leaves no room on.
func fullDisk(t *testing.T) (path string, fill, free func()) {
	dir := storagetest.Tmpfs(t, "4m")
	path = storagetest.Image(t, dir, stripes*stripe)
	image, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	if _, err := image.Write(make([]byte, half)); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(dir, "filler")
	fill = func() {
		if os.WriteFile(filler, make([]byte, 8<<20), 0o600) == nil {
			t.Error("the disk is not full")
		}
	}
	return path, fill, func() {
		if err := os.Remove(filler); err != nil {
			t.Error(err)
		}
	}
}

func truncate(t *testing.T, path string, size int64) {
	if err := os.Truncate(path, size); err != nil {
		t.Error(err)
	}
}

// TestFaultStrikesItsRequestsOnly has one client work on each stripe at the same
// time: before the fault, under it, and after it has been mended. The typed
// error reaches just those whose stripe was struck, with its range.
func TestFaultStrikesItsRequestsOnly(t *testing.T) {
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			path, strike, mend := f.open(t)
			s := storagetest.Start(t, storage.Limits{}, file(path, device.Options{}))
			v := s.Connect(storagetest.Grant{}).Volumes[0]
			everyStripe(t, v, storage.OpRead, storage.KindOK)
			strike()
			everyStripe(t, v, f.op, f.kind)
			if f.op == storage.OpWrite {
				everyStripe(t, v, storage.OpWrite, f.kind) // it has killed nobody, and stays
			}
			mend()
			everyStripe(t, v, storage.OpWrite, storage.KindOK)
			everyStripe(t, v, storage.OpRead, storage.KindOK)
		})
	}
}

// everyStripe carries out op on all stripes at once; those of the second half
// are to fail with kind.
func everyStripe(t *testing.T, v *client.Volume, op storage.Op, kind storage.Kind) {
	t.Helper()
	var errs [stripes]error
	var wg sync.WaitGroup
	for i := range stripes {
		wg.Go(func() {
			p, off := make([]byte, stripe), int64(i*stripe)
			if op == storage.OpRead {
				_, errs[i] = v.ReadAt(p, off)
			} else {
				_, errs[i] = v.WriteAt(p, off)
			}
		})
	}
	wg.Wait()
	for i, err := range errs {
		switch {
		case i < stripes/2 || kind == storage.KindOK:
			if err != nil {
				t.Errorf("%v of stripe %d: %v", op, i, err)
			}
		default:
			wantKind(t, op.String(), err, kind)
			if typed, ok := err.(*storage.Error); ok && typed.Offset != int64(i*stripe) {
				t.Errorf("the error of stripe %d names byte %d", i, typed.Offset)
			}
		}
	}
}
