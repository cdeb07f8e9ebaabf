package device

import (
	"os"
	"testing"

	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/storage"
)

func TestLoopDevice(t *testing.T) {
	everyOperation(t, openFile(t, loopDevice(t, imageFile(t, t.TempDir(), 1<<20)), Options{}))
}

// TestFileCutShort: reads beyond the new end find the device gone, those before
// it do not notice.
func TestFileCutShort(t *testing.T) {
	path := imageFile(t, t.TempDir(), 1<<20)
	d := openFile(t, path, Options{})
	if err := os.Truncate(path, 512<<10); err != nil {
		t.Fatal(err)
	}
	mem := buffer(t, 64<<10)
	read := storage.Operation{Op: storage.OpRead, Buffer: storage.BufferNone, Mem: mem}
	mustRun(t, d, read)
	read.Offset = 512<<10 - 4096
	if c := run(t, d, read); c.Kind != storage.KindGone || c.Done != 4096 {
		t.Errorf("a read across the new end: %+v", c)
	}
	read.Offset = 768 << 10
	if c := run(t, d, read); c.Kind != storage.KindGone || c.Done != 0 {
		t.Errorf("a read past the new end: %+v", c)
	}
}

// TestDeviceCutShort: the file behind a loop device shrinks to nothing.
func TestDeviceCutShort(t *testing.T) {
	image := imageFile(t, t.TempDir(), 1<<20)
	loop := loopDevice(t, image)
	d := openFile(t, loop, Options{})
	if err := os.Truncate(image, 0); err != nil {
		t.Fatal(err)
	}
	command(t, "losetup", "--set-capacity", loop)
	mem := buffer(t, 4096)
	for _, op := range []storage.Op{storage.OpRead, storage.OpWrite} {
		c := run(t, d, storage.Operation{Op: op, Buffer: storage.BufferNone, Mem: mem})
		if c.Kind != storage.KindGone || c.Done != 0 {
			t.Errorf("%v: %+v", op, c)
		}
	}
}

// TestFullDisk: a sparse file on a file system smaller than it.
func TestFullDisk(t *testing.T) {
	testenv.RequireRoot(t)
	dir := t.TempDir()
	command(t, "mount", "-t", "tmpfs", "-o", "size=1m", "none", dir)
	t.Cleanup(func() { command(t, "umount", dir) })
	d := openFile(t, imageFile(t, dir, 8<<20), Options{})
	mem := buffer(t, 512<<10)
	var last storage.Completion
	for off := int64(0); off < 4<<20 && last.Kind == storage.KindOK; off += int64(len(mem)) {
		last = run(t, d, storage.Operation{Op: storage.OpWrite, Buffer: storage.BufferNone, Mem: mem, Offset: off})
	}
	if last.Kind != storage.KindNoSpace {
		t.Errorf("writing to a full disk: %+v", last)
	}
	mustRun(t, d, storage.Operation{Op: storage.OpWrite, Buffer: storage.BufferNone, Mem: mem[:4096]})
}
