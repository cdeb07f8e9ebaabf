package device

import (
	"bytes"
	"os"
	"runtime"
	"testing"

	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/storage"
	"github.com/quintet-os/quintet/storage/storagetest"
)

// locked keeps the test on one thread, which a File wants.
func locked(t testing.TB) {
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
}

// buffer returns memory outside the Go heap.
func buffer(t testing.TB, size int) []byte {
	t.Helper()
	mem, err := unix.MapAnonymous(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmap(mem) })
	return mem
}

// openFile opens path as a device.
func openFile(t testing.TB, path string, options Options) *File {
	t.Helper()
	locked(t)
	f, err := NewFile(openDescriptor(t, path), options)
	if err != nil {
		testenv.Skip(t, err.Error())
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func openDescriptor(t testing.TB, path string) int {
	t.Helper()
	fd, err := storagetest.Descriptor(path)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// reap waits for n completions.
func reap(t testing.TB, d storage.Device, n int) []storage.Completion {
	t.Helper()
	epoll, err := unix.NewEpoll(4)
	if err != nil {
		t.Fatal(err)
	}
	defer epoll.Close()
	if d.Wakeup() >= 0 {
		if err := epoll.Add(d.Wakeup(), 0); err != nil {
			t.Fatal(err)
		}
	}
	all := make([]storage.Completion, 0, n)
	for {
		got := d.Reap(all[len(all):n])
		all = all[:len(all)+got]
		if len(all) == n {
			return all
		}
		if got == 0 && !d.Busy() {
			if err := epoll.Wait(-1, func(int32) {}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// run executes one operation.
func run(t testing.TB, d storage.Device, op storage.Operation) storage.Completion {
	t.Helper()
	if op.Length == 0 {
		op.Length = int64(len(op.Mem))
	}
	if !d.Submit(&op) {
		t.Fatalf("%v refused by an idle device", op.Op)
	}
	return reap(t, d, 1)[0]
}

func mustRun(t testing.TB, d storage.Device, op storage.Operation) {
	t.Helper()
	if c := run(t, d, op); c.Kind != storage.KindOK {
		t.Fatalf("%v of %d bytes at %d: %v (errno %d)", op.Op, op.Length, op.Offset, c.Kind, c.Errno)
	}
}

// everyOperation checks what all devices do alike.
func everyOperation(t *testing.T, d storage.Device) {
	t.Helper()
	block := d.Info().BlockSize
	mem := buffer(t, 16*block)
	attached := d.Attach(mem)
	defer d.Detach(attached)
	for _, buf := range []int{attached, storage.BufferNone} {
		for i := range mem[:8*block] {
			mem[i] = byte(i%251 + 1)
		}
		written, read := mem[:8*block], mem[8*block:]
		mustRun(t, d, storage.Operation{Op: storage.OpWrite, Buffer: buf, Mem: written, Offset: int64(block)})
		mustRun(t, d, storage.Operation{Op: storage.OpFlush, Buffer: storage.BufferNone})
		mustRun(t, d, storage.Operation{Op: storage.OpRead, Buffer: buf, Mem: read, Offset: int64(block)})
		if !bytes.Equal(written, read) {
			t.Fatal("what was read is not what was written")
		}
		for _, flags := range []storage.Flags{0, storage.FlagFUA} {
			mustRun(t, d, storage.Operation{Op: storage.OpWrite, Flags: flags, Buffer: buf, Mem: written, Offset: int64(block)})
			mustRun(t, d, storage.Operation{Op: storage.OpWriteZeroes, Flags: flags, Buffer: storage.BufferNone, Offset: int64(2 * block), Length: int64(2 * block)})
			mustRun(t, d, storage.Operation{Op: storage.OpRead, Buffer: buf, Mem: read, Offset: int64(block)})
			want := append([]byte(nil), written...)
			clear(want[block : 3*block])
			if !bytes.Equal(want, read) {
				t.Fatal("zeroes are not where they belong")
			}
		}
		mustRun(t, d, storage.Operation{Op: storage.OpDiscard, Buffer: storage.BufferNone, Offset: int64(block), Length: int64(block)})
		mustRun(t, d, storage.Operation{Op: storage.OpRead, Buffer: buf, Mem: read[:block], Offset: int64(4 * block)})
		if !bytes.Equal(written[3*block:4*block], read[:block]) {
			t.Fatal("a discard changed a block outside it")
		}
	}
}

func TestMemory(t *testing.T) {
	d, err := NewMemory(make([]byte, 1<<20), 512, 8)
	if err != nil {
		t.Fatal(err)
	}
	everyOperation(t, d)
}

func TestFile(t *testing.T) {
	for name, options := range map[string]Options{
		"direct":   {},
		"buffered": {Buffered: true},
		"unpinned": {Unpinned: true},
	} {
		t.Run(name, func(t *testing.T) {
			d := openFile(t, storagetest.Image(t, t.TempDir(), 1<<20+100), options)
			if d.Info().Size != 1<<20 {
				t.Errorf("size %d: the last, broken block counts", d.Info().Size)
			}
			if attached := d.Attach(buffer(t, 1<<20)); (attached == storage.BufferNone) != options.Unpinned {
				t.Errorf("memory was attached as %d", attached)
			}
			everyOperation(t, d)
		})
	}
}

func TestFileOnTmpfs(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "storage")
	if err != nil {
		testenv.Skip(t, err.Error())
	}
	defer os.RemoveAll(dir)
	everyOperation(t, openFile(t, storagetest.Image(t, dir, 1<<20), Options{}))
}

func TestDepthIsBounded(t *testing.T) {
	d := openFile(t, storagetest.Image(t, t.TempDir(), 1<<20), Options{Depth: 4})
	mem := buffer(t, 4096)
	op := storage.Operation{Op: storage.OpRead, Buffer: storage.BufferNone, Mem: mem, Length: int64(len(mem))}
	for round := range 3 {
		for i := range 4 {
			if op.Tag = uint64(i); !d.Submit(&op) {
				t.Fatalf("round %d: operation %d of 4 refused", round, i)
			}
		}
		if d.Submit(&op) {
			t.Fatal("more operations than the depth")
		}
		seen := make(map[uint64]bool)
		for _, c := range reap(t, d, 4) {
			if c.Kind != storage.KindOK || seen[c.Tag] {
				t.Errorf("completion %+v", c)
			}
			seen[c.Tag] = true
		}
	}
}

func TestNewFileRefuses(t *testing.T) {
	locked(t)
	null, err := unix.Reopen(openDescriptor(t, os.DevNull))
	if err != nil {
		t.Fatal(err)
	}
	empty := openDescriptor(t, storagetest.Image(t, t.TempDir(), 0))
	for name, fd := range map[string]int{"a character device": null, "an empty file": empty} {
		if f, err := NewFile(fd, Options{}); err == nil {
			f.Close()
			t.Errorf("%s became a device", name)
		}
	}
}

func TestTampered(t *testing.T) {
	memory, err := NewMemory(make([]byte, 1<<20), 512, 8)
	if err != nil {
		t.Fatal(err)
	}
	d := Tamper(memory)
	everyOperation(t, d)
	mem := make([]byte, 512)
	d.Decide = func(op *storage.Operation) Verdict {
		if op.Op == storage.OpWrite {
			return Verdict{Kind: storage.KindIO, Errno: unix.EIO}
		}
		return Verdict{Hold: true}
	}
	if c := run(t, d, storage.Operation{Op: storage.OpWrite, Mem: mem}); c.Kind != storage.KindIO || c.Errno != unix.EIO {
		t.Errorf("a failed write: %+v", c)
	}
	if !d.Submit(&storage.Operation{Tag: 7, Op: storage.OpRead, Mem: mem, Length: 512}) || d.Held() != 1 {
		t.Fatal("the read is not held")
	}
	if n := d.Reap(make([]storage.Completion, 1)); n != 0 {
		t.Error("a held operation completed")
	}
	d.Release(1)
	if c := reap(t, d, 1)[0]; c.Tag != 7 || c.Kind != storage.KindOK {
		t.Errorf("a released read: %+v", c)
	}
}
