package device

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/storage"
	"github.com/quintet-os/quintet/storage/storagetest"
)

func TestLoopDevice(t *testing.T) {
	everyOperation(t, openFile(t, storagetest.LoopDevice(t, storagetest.Image(t, t.TempDir(), 1<<20)), Options{}))
}

// TestFileCutShort: reads beyond the new end find the device gone, those before
// it do not notice.
func TestFileCutShort(t *testing.T) {
	path := storagetest.Image(t, t.TempDir(), 1<<20)
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
	image := storagetest.Image(t, t.TempDir(), 1<<20)
	loop := storagetest.LoopDevice(t, image)
	d := openFile(t, loop, Options{})
	if err := os.Truncate(image, 0); err != nil {
		t.Fatal(err)
	}
	storagetest.Command(t, "losetup", "--set-capacity", loop)
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
	d := openFile(t, storagetest.Image(t, storagetest.Tmpfs(t, "1m"), 8<<20), Options{})
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

// TestGrownFile: the volume keeps the size it was opened with.
func TestGrownFile(t *testing.T) {
	path := storagetest.Image(t, t.TempDir(), 1<<20)
	d := openFile(t, path, Options{})
	if err := os.Truncate(path, 2<<20); err != nil {
		t.Fatal(err)
	}
	everyOperation(t, d)
	if d.Info().Size != 1<<20 {
		t.Errorf("size %d", d.Info().Size)
	}
}

// unpinnedEnv makes this test binary a process that may not pin memory; it names
// the file.
const unpinnedEnv = "QUINTET_TEST_UNPINNED"

// TestRefusedPinning: where RLIMIT_MEMLOCK forbids fixed buffers, operations
// use plain ones.
func TestRefusedPinning(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), unpinnedEnv+"="+storagetest.Image(t, t.TempDir(), 1<<20))
	// In a namespace of its own, root has no CAP_IPC_LOCK that would lift the limit.
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func unpinned(path string) error {
	const lockedMax, memBytes = 64 << 10, 1 << 20
	mem, err := unix.MapAnonymous(memBytes)
	if err != nil {
		return err
	}
	if err := unix.SetLimits(unix.LimitLocked, lockedMax, lockedMax); err != nil {
		return err
	}
	fd, err := storagetest.Descriptor(path)
	if err != nil {
		return err
	}
	f, err := NewFile(fd, Options{Depth: 4})
	if err != nil {
		return err
	}
	if f.pinned == nil {
		return errors.New("the kernel offers no fixed buffers at all, so nothing was shown")
	}
	large := f.Attach(mem)
	if large != storage.BufferNone {
		return fmt.Errorf("%d bytes were pinned, the limit is %d", memBytes, lockedMax)
	}
	for i := range mem[:4096] {
		mem[i] = byte(i)
	}
	for _, op := range []storage.Operation{{Op: storage.OpWrite, Mem: mem[:4096]}, {Op: storage.OpRead, Mem: mem[4096:8192]}} {
		op.Buffer, op.Length = large, 4096
		if !f.Submit(&op) {
			return errors.New("refused by an idle device")
		}
		done := make([]storage.Completion, 1)
		for f.Reap(done) == 0 {
		}
		if done[0].Kind != storage.KindOK {
			return fmt.Errorf("%v: %+v", op.Op, done[0])
		}
	}
	if string(mem[:4096]) != string(mem[4096:8192]) {
		return errors.New("what was read is not what was written")
	}
	return f.Close()
}
