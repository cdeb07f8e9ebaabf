package uring

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/quintet-os/quintet/internal/testenv"
	sys "golang.org/x/sys/unix"
)

func newRing(t *testing.T, entries int, mode Mode) *Ring {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	r, err := New(entries, mode)
	if err != nil {
		testenv.Skip(t, "no io_uring here: "+err.Error())
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func pages(t *testing.T, size int) []byte {
	t.Helper()
	mem, err := sys.Mmap(-1, 0, size, sys.PROT_READ|sys.PROT_WRITE, sys.MAP_SHARED|sys.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sys.Munmap(mem) })
	return mem
}

// complete enters until n completions are popped.
func complete(t *testing.T, r *Ring, n int) []CQE {
	t.Helper()
	var got []CQE
	for len(got) < n {
		if err := r.Enter(1); err != nil {
			t.Fatal(err)
		}
		for cqe, ok := r.Pop(); ok; cqe, ok = r.Pop() {
			got = append(got, cqe)
		}
	}
	return got
}

func TestNopsInEveryMode(t *testing.T) {
	for _, mode := range []Mode{ModeDefer, ModeCooperate, ModeInterrupt} {
		r := newRing(t, 8, mode)
		for round := range 5 { // more than the ring has places
			for i := range r.Entries() {
				sqe := r.Next()
				if sqe == nil {
					t.Fatalf("mode %d: full after %d of %d", mode, i, r.Entries())
				}
				sqe.Nop()
				sqe.UserData = uint64(round*100 + i)
			}
			if r.Next() != nil {
				t.Fatalf("mode %d: more submissions than entries", mode)
			}
			for i, cqe := range complete(t, r, r.Entries()) {
				if cqe.UserData != uint64(round*100+i) || cqe.Result != 0 {
					t.Fatalf("mode %d: completion %d is %+v", mode, i, cqe)
				}
			}
		}
	}
}

func TestFixedBuffer(t *testing.T) {
	r := newRing(t, 8, ModeDefer)
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fd := int(file.Fd())
	if err := r.RegisterBuffers(4); err != nil {
		t.Fatal(err)
	}
	mem := pages(t, 8192)
	if err := r.SetBuffer(3, mem); err != nil {
		t.Fatal(err)
	}
	for i := range mem[:4096] {
		mem[i] = byte(i * 7)
	}
	r.Next().WriteFixed(fd, mem[:4096], 512, 3, true)
	if got := complete(t, r, 1)[0].Result; got != 4096 {
		t.Fatalf("write: %d", got)
	}
	r.Next().ReadFixed(fd, mem[4096:], 512, 3)
	if got := complete(t, r, 1)[0].Result; got != 4096 {
		t.Fatalf("read: %d", got)
	}
	if !bytes.Equal(mem[:4096], mem[4096:]) {
		t.Error("what was read is not what was written")
	}
	r.Next().PunchHole(fd, 512, 512)
	if got := complete(t, r, 1)[0].Result; got != 0 && sys.Errno(-got) != sys.EOPNOTSUPP {
		t.Errorf("punch: %d", got)
	}
	r.Next().Datasync(fd)
	if got := complete(t, r, 1)[0].Result; got != 0 {
		t.Errorf("datasync: %d", got)
	}
	if err := r.SetBuffer(3, nil); err != nil {
		t.Errorf("empty the place: %v", err)
	}
	r.Next().WriteFixed(fd, mem[:4096], 512, 3, false)
	if got := complete(t, r, 1)[0].Result; sys.Errno(-got) != sys.EFAULT {
		t.Errorf("write from an emptied place: %d, want EFAULT", got)
	}
}
