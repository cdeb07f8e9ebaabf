// Package shm makes, checks and maps the memory that two domains share.
//
// Purpose: a session is two segments, each written by one side only. A client's
// segment is created here by the client and sealed so that the kernel refuses
// every later writable mapping; a server's segment is created by the supervisor,
// which hands out a read-only description to the client. A region is payload
// memory of the client, which the server may read, or read and write.
//
// Invariants: every mapping made of a peer's descriptor has been checked to be a
// memfd of ordinary pages that can neither shrink nor grow, so that nothing its maker
// does makes an access raise SIGBUS. Pages that nobody has touched, and holes that the
// maker punches later (OneWriter memory has none: the kernel refuses to punch them),
// are the same: they read as zeros, and memory is found for them when they are touched.
// SIGBUS is left to a machine that has no memory to give and says so late:
// vm.overcommit_memory=2 at its limit, a swap device that fails, broken memory.
//
// Trust: descriptors come from peers and are hostile until Open has accepted
// them. The size a peer names is compared with the size of the file. There are
// no locks; a Segment is used by one owner.
package shm

import (
	"fmt"

	"github.com/quintet-os/quintet/internal/unix"
)

// SizeMax bounds one segment or region, in bytes.
const SizeMax = 1 << 40

const fixedSize = unix.SealSeal | unix.SealShrink | unix.SealGrow

// Kind says who writes a segment.
type Kind int

const (
	// OneWriter memory is written through the creator's mapping only: the kernel
	// refuses any later writable mapping (F_SEAL_FUTURE_WRITE).
	OneWriter Kind = iota
	// Shared memory may be mapped for writing by whoever holds a writable
	// description of it.
	Shared
)

// Segment is one piece of mapped shared memory.
type Segment struct {
	// FD is the memory file; the Segment owns it. It is -1 after CloseFD.
	FD int
	// Mem is the mapping, page-aligned.
	Mem []byte
}

// Create returns zeroed memory of size bytes, mapped for writing and sealed for
// its kind.
func Create(name string, size int, kind Kind) (*Segment, error) {
	if size <= 0 || size > SizeMax {
		return nil, fmt.Errorf("shm: create %s: %w: %d bytes", name, ErrSize, size)
	}
	fd, err := unix.CreateMemfd(name, int64(size))
	if err != nil {
		return nil, fmt.Errorf("shm: create %s of %d bytes: %w", name, size, err)
	}
	s := &Segment{FD: fd}
	if s.Mem, err = unix.Map(fd, size, true, false); err != nil {
		s.Close()
		return nil, fmt.Errorf("shm: map %s of %d bytes: %w", name, size, err)
	}
	seals := fixedSize
	if kind == OneWriter {
		seals |= unix.SealFutureWrite
	}
	if err := unix.AddSeals(fd, seals); err != nil {
		s.Close()
		return nil, fmt.Errorf("shm: seal %s: %w", name, err)
	}
	return s, nil
}

// Open maps size bytes of a peer's memory file after checking it. It takes fd
// over, and closes it on error. With writable, the file must be of kind Shared.
// Errors are ErrNotMemory, ErrUnsealed and ErrSize, or the kernel's.
func Open(fd, size int, writable bool) (*Segment, error) {
	s := &Segment{FD: fd}
	if err := checkMemory(fd, size); err != nil {
		s.Close()
		return nil, err
	}
	mem, err := unix.Map(fd, size, writable, false)
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("shm: map a peer's memory of %d bytes: %w", size, err)
	}
	s.Mem = mem
	return s, nil
}

// Check tells whether a peer's descriptor is memory of a kind, of size bytes. It
// does not wait for whoever has made the file: what is not a memory file is not
// asked anything that its maker could leave unanswered.
func Check(fd, size int, kind Kind) error {
	if err := checkMemory(fd, size); err != nil {
		return err
	}
	seals, err := unix.Seals(fd)
	if err != nil {
		return fmt.Errorf("%w (%v)", ErrNotMemory, err)
	}
	readable, writable, err := unix.Access(fd)
	switch {
	case err != nil:
		return fmt.Errorf("%w (%v)", ErrNotMemory, err)
	case !readable:
		return fmt.Errorf("%w: its description is not open for reading", ErrAccess)
	case kind == OneWriter && seals&unix.SealFutureWrite == 0:
		return fmt.Errorf("%w: F_SEAL_FUTURE_WRITE is missing", ErrUnsealed)
	case kind == Shared && (!writable || seals&(unix.SealFutureWrite|unix.SealWrite) != 0):
		return fmt.Errorf("%w: it may not be mapped for writing", ErrAccess)
	}
	return nil
}

// checkMemory tells whether fd is a memory file of ordinary pages and of size bytes,
// for good. The seals come first: only memory files have them, and the kernel answers
// by itself. Huge pages are refused: they are taken from a pool, which may be empty
// when one is touched, and that raises SIGBUS.
func checkMemory(fd, size int) error {
	if size <= 0 || size > SizeMax {
		return fmt.Errorf("%w: %d bytes asked for", ErrSize, size)
	}
	seals, err := unix.Seals(fd)
	if err != nil {
		return fmt.Errorf("%w (%v)", ErrNotMemory, err)
	}
	if seals&fixedSize != fixedSize {
		return fmt.Errorf("%w: seals %#x, need %#x", ErrUnsealed, seals, fixedSize)
	}
	ordinary, err := unix.OnTmpfs(fd)
	if err != nil {
		return fmt.Errorf("%w (%v)", ErrNotMemory, err)
	}
	if !ordinary {
		return fmt.Errorf("%w of ordinary pages: it has huge ones", ErrNotMemory)
	}
	have, err := unix.FileSize(fd)
	if err != nil {
		return fmt.Errorf("%w (%v)", ErrNotMemory, err)
	}
	if have != int64(size) {
		return fmt.Errorf("%w: the file has %d bytes, %d were announced", ErrSize, have, size)
	}
	return nil
}

// ReadOnlyFD returns a new read-only description of the segment for a peer, and
// takes all permissions from the file, so that a peer without the right to
// override permissions cannot open it again for writing. The peer owns the
// result. A process of root or of the same user could undo that; it could also
// trace the server, and is trusted as far.
func (s *Segment) ReadOnlyFD() (int, error) {
	if err := unix.SetMode(s.FD, 0o400); err != nil {
		return -1, fmt.Errorf("shm: prepare a read-only description: %w", err)
	}
	fd, err := unix.ReopenReadOnly(s.FD)
	if err != nil {
		return -1, fmt.Errorf("shm: open a read-only description: %w", err)
	}
	if err := unix.SetMode(s.FD, 0); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("shm: withdraw permissions: %w", err)
	}
	return fd, nil
}

// CloseFD closes the descriptor and keeps the mapping.
func (s *Segment) CloseFD() error {
	if s.FD < 0 {
		return nil
	}
	fd := s.FD
	s.FD = -1
	return unix.Close(fd)
}

// Close removes the mapping and closes the descriptor. Nobody may use Mem any
// more.
func (s *Segment) Close() error {
	err := s.CloseFD()
	if s.Mem != nil {
		mem := s.Mem
		s.Mem = nil
		if e := unix.Unmap(mem); err == nil {
			err = e
		}
	}
	return err
}
