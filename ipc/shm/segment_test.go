package shm

import (
	"errors"
	"os"
	"runtime/debug"
	"testing"

	"github.com/quintet-os/quintet/internal/unix"
)

const size = 3 * 4096

func create(t *testing.T, kind Kind) *Segment {
	t.Helper()
	s, err := Create("test", size, kind)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// faults tells whether storing through mem raises SIGSEGV.
func faults(mem []byte) (fault bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { fault = recover() != nil }()
	mem[0]++
	return false
}

func dup(t *testing.T, fd int) int {
	t.Helper()
	d, err := unix.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestClientSegmentHasOneWriter(t *testing.T) {
	own := create(t, OneWriter)
	peer, err := Open(dup(t, own.FD), size, false)
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	own.Mem[100] = 7
	if peer.Mem[100] != 7 {
		t.Error("the peer does not see what the owner wrote")
	}
	if faults(own.Mem) {
		t.Error("the owner's own store faults")
	}
	if !faults(peer.Mem) {
		t.Error("a store by the wrong side does not fault")
	}
	if err := CheckOneWriter(own.FD); err != nil {
		t.Error(err)
	}
	if mem, err := unix.Map(own.FD, size, true, false); err == nil {
		unix.Unmap(mem)
		t.Error("a later writable mapping was granted")
	}
	if err := unix.Protect(peer.Mem, true); err == nil {
		t.Error("the read-only mapping was made writable")
	}
}

func TestServerSegmentIsReadOnlyToTheClient(t *testing.T) {
	server := create(t, Shared)
	fd, err := server.ReadOnlyFD()
	if err != nil {
		t.Fatal(err)
	}
	client, err := Open(fd, size, false)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server.Mem[9] = 9
	if client.Mem[9] != 9 || !faults(client.Mem) {
		t.Error("the client cannot read, or can write, the server's segment")
	}
	if mem, err := unix.Map(client.FD, size, true, false); err == nil {
		unix.Unmap(mem)
		t.Error("the client was granted a writable mapping")
	}
	if err := unix.Protect(client.Mem, true); err == nil {
		t.Error("the client made its mapping writable")
	}
	// A successor gets the supervisor's writable description.
	successor, err := Open(dup(t, server.FD), size, true)
	if err != nil {
		t.Fatal(err)
	}
	defer successor.Close()
	if faults(successor.Mem) {
		t.Error("a successor cannot write the server's segment")
	}
}

func TestNobodyCanTruncate(t *testing.T) {
	for _, kind := range []Kind{OneWriter, Shared} {
		s := create(t, kind)
		for _, n := range []int64{0, size / 2, size * 2} {
			if err := unix.Truncate(s.FD, n); err == nil {
				t.Errorf("kind %d was truncated to %d bytes", kind, n)
			}
		}
	}
}

func TestHostileDescriptorsAreRefused(t *testing.T) {
	memfd := func(seals int) int {
		fd, err := unix.CreateMemfd("hostile", size)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.AddSeals(fd, seals); err != nil {
			t.Fatal(err)
		}
		return fd
	}
	file := func() int {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		return dup(t, int(f.Fd()))
	}
	for _, test := range []struct {
		name string
		fd   int
		size int
		want error
	}{
		{"a file on disk", file(), size, ErrUnsealed},
		{"no seals", memfd(0), size, ErrUnsealed},
		{"may shrink", memfd(unix.SealGrow | unix.SealSeal), size, ErrUnsealed},
		{"may grow", memfd(unix.SealShrink | unix.SealSeal), size, ErrUnsealed},
		{"may be sealed further", memfd(unix.SealShrink | unix.SealGrow), size, ErrUnsealed},
		{"shorter than announced", memfd(unix.SealShrink | unix.SealGrow | unix.SealSeal), size + 1, ErrSize},
		{"no size", memfd(unix.SealShrink | unix.SealGrow | unix.SealSeal), 0, ErrSize},
		{"negative size", memfd(unix.SealShrink | unix.SealGrow | unix.SealSeal), -1, ErrSize},
		{"closed", -1, size, ErrNotMemory},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := Open(test.fd, test.size, false)
			if err == nil {
				s.Close()
				t.Fatal("accepted")
			}
			if !errors.Is(err, test.want) && !(test.want == ErrUnsealed && errors.Is(err, ErrNotMemory)) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}
