package shm

import (
	"bytes"
	"errors"
	"runtime/debug"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/internal/unix/unixtest"
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
	if err := Check(own.FD, size, OneWriter); err != nil {
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

// TestHostileDescriptorsAreRefused: whatever a peer passes, only memory of ordinary
// pages, of the size announced and for good, is mapped.
func TestHostileDescriptorsAreRefused(t *testing.T) {
	for _, d := range unixtest.Strange(t, size) {
		for kind, name := range map[Kind]string{OneWriter: "one writer", Shared: "shared"} {
			err := Check(d.FD, size, kind)
			if !typed(err) {
				t.Errorf("%s as memory of kind %s: %v", d.Kind, name, err)
			}
		}
	}
	own := create(t, OneWriter)
	for _, announced := range []int{0, -1, size - 1, size + 1, SizeMax + 1} {
		if _, err := Open(dup(t, own.FD), announced, false); !errors.Is(err, ErrSize) {
			t.Errorf("%d bytes announced of %d: %v", announced, size, err)
		}
	}
	if _, err := Open(-1, size, false); !errors.Is(err, ErrNotMemory) {
		t.Errorf("no descriptor: %v", err)
	}
	if err := Check(own.FD, size, Shared); !errors.Is(err, ErrAccess) {
		t.Errorf("memory of one writer as shared memory: %v", err)
	}
	shared := create(t, Shared)
	if err := Check(shared.FD, size, OneWriter); !errors.Is(err, ErrUnsealed) {
		t.Errorf("shared memory as memory of one writer: %v", err)
	}
	readOnly, err := shared.ReadOnlyFD()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(readOnly)
	if err := Check(readOnly, size, Shared); !errors.Is(err, ErrAccess) {
		t.Errorf("shared memory that may only be read: %v", err)
	}
}

// TestHugePagesAreRefused: touching one raises SIGBUS when the machine's pool of them
// is empty.
func TestHugePagesAreRefused(t *testing.T) {
	const huge = 2 << 20
	fd, err := unixtest.CreateHugeMemfd("test", huge)
	if err != nil {
		testenv.Skip(t, err.Error())
	}
	if err := unix.AddSeals(fd, fixedSize); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(fd, huge, true); !errors.Is(err, ErrNotMemory) {
		t.Errorf("huge pages: %v", err)
		s.Close()
	}
}

func typed(err error) bool {
	return errors.Is(err, ErrNotMemory) || errors.Is(err, ErrUnsealed) || errors.Is(err, ErrSize) || errors.Is(err, ErrAccess)
}

// TestAFileThatNobodyAnswersFor is refused without being asked anything that its
// maker would have to answer.
func TestAFileThatNobodyAnswersFor(t *testing.T) {
	fd, release := unixtest.Unanswered(t)
	checked := make(chan error, 1)
	go func() { checked <- Check(fd, size, Shared) }()
	select {
	case err := <-checked:
		if !errors.Is(err, ErrNotMemory) {
			t.Errorf("a file of FUSE: %v", err)
		}
	case <-time.After(patience):
		t.Error("checking a file waits for whoever made it")
	}
	release()
	unix.Close(fd)
}

const patience = 30 * time.Second

// TestHolesReadAsZeros: a peer that gives pages of shared memory back while they are
// used raises no fault; the other side reads zeros, and what it writes is there.
func TestHolesReadAsZeros(t *testing.T) {
	own := create(t, Shared)
	peer, err := Open(dup(t, own.FD), size, true)
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // SIGBUS fails the test, by name
	for i := range peer.Mem {
		peer.Mem[i] = 0xaa
	}
	if err := unix.PunchHole(own.FD, 0, size); err != nil {
		t.Fatal(err)
	}
	if i := bytes.IndexFunc(peer.Mem, func(r rune) bool { return r != 0 }); i >= 0 {
		t.Errorf("byte %d of a hole is not zero", i)
	}
	const rounds = 2000
	ended := make(chan error, 1)
	go func() {
		for range rounds {
			if err := unix.PunchHole(own.FD, 0, size); err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	for done := false; !done; {
		select {
		case err := <-ended:
			if done = true; err != nil {
				t.Error(err)
			}
		default:
			for i := 0; i < size; i += 4096 {
				peer.Mem[i]++
			}
		}
	}
	peer.Mem[1] = 7
	if own.Mem[1] != 7 {
		t.Error("what is written into a hole is not there")
	}
	if err := unix.PunchHole(create(t, OneWriter).FD, 0, size); err == nil {
		t.Error("a hole was punched into memory of one writer")
	}
}
