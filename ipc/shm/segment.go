// Package shm makes, checks and maps the memory that two domains share.
//
// Purpose: a session is two segments, each written by one side only. A client's
// segment is created here by the client and sealed so that the kernel refuses
// every later writable mapping; a server's segment is created by the supervisor,
// which hands out a read-only description to the client. A region is payload
// memory of the client, which the server may read, or read and write.
//
// Invariants: every mapping made of a peer's descriptor has been checked to be a
// memfd that can neither shrink nor grow, so that no access can raise SIGBUS.
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
	if err := Check(fd, size); err != nil {
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

// Check tells whether a peer's descriptor is a memory file of at least size
// bytes whose size is sealed.
func Check(fd, size int) error {
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
	have, err := unix.FileSize(fd)
	if err != nil {
		return fmt.Errorf("%w (%v)", ErrNotMemory, err)
	}
	if have < int64(size) {
		return fmt.Errorf("%w: the file has %d bytes, %d were announced", ErrSize, have, size)
	}
	return nil
}

// CheckOneWriter tells whether the kernel refuses writable mappings of a peer's
// memory to everybody but the peer.
func CheckOneWriter(fd int) error {
	seals, err := unix.Seals(fd)
	if err != nil {
		return fmt.Errorf("%w (%v)", ErrNotMemory, err)
	}
	if seals&unix.SealFutureWrite == 0 {
		return fmt.Errorf("%w: F_SEAL_FUTURE_WRITE is missing", ErrUnsealed)
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
