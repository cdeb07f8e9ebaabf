// Package uring is Linux's io_uring, as far as block I/O needs it: one
// submission ring, one completion ring, fixed files, fixed buffers and a
// completion eventfd, on raw system calls.
//
// A Ring belongs to one operating-system thread: it is made, used and closed
// there (runtime.LockOSThread), which is what ModeDefer demands. There are no locks. Memory named by a submission must lie outside
// the Go heap and stay mapped until its completion has been popped.
//
// The number of submissions in flight is for the caller to bound by
// Entries: the completion ring is twice as large, so it cannot overflow.
//
// Sources: io_uring(7), io_uring_setup(2), io_uring_enter(2),
// io_uring_register(2); J. Axboe, "Efficient IO with io_uring".
package uring

import (
	"errors"
	"fmt"
	"sync/atomic"

	sys "golang.org/x/sys/unix"
)

// Mode says when the kernel runs the ends of operations.
type Mode int

const (
	// ModeCooperate: whenever the thread enters the kernel (COOP_TASKRUN; Linux
	// 5.19). The zero value: see docs/decisions/storage-ring-mode.md.
	ModeCooperate Mode = iota
	// ModeDefer: when the ring's only thread asks for completions
	// (SINGLE_ISSUER, DEFER_TASKRUN; 6.1). After a death the kernel may take a
	// timer's tick of 50 ms to let go of the files of operations in flight.
	ModeDefer
	// ModeInterrupt: at once, interrupting the thread.
	ModeInterrupt
)

var modeFlags = [...]uint32{
	ModeCooperate: setupCoopTaskrun | setupTaskrunFlag,
	ModeDefer:     setupSingle | setupDefer | setupTaskrunFlag,
	ModeInterrupt: 0,
}

// EntriesMax bounds the entries of a ring.
const EntriesMax = 4096

// Ring is one io_uring.
type Ring struct {
	fd      int
	mode    Mode
	entries uint32

	rings, slots []byte // mappings
	sqes         []SQE
	cqes         []CQE

	sqHead, sqTail, sqFlags *uint32
	cqHead, cqTail          *uint32
	sqMask, cqMask          uint32

	tail    uint32 // of the submissions written
	entered uint32 // of the submissions the kernel has been told of
	head    uint32 // of the completions read

	vector sys.Iovec // of SetBuffer: on a stack it could move under the kernel
}

// New makes a ring for entries operations in flight, in the given mode or, when
// the kernel lacks it, in ModeInterrupt. After Reserve it hands out
// one of the reserved rings, which are of ModeCooperate.
func New(entries int, mode Mode) (*Ring, error) {
	if r, err := takeReserved(entries); r != nil || err != nil {
		return r, err
	}
	return create(entries, mode, 0)
}

func create(entries int, mode Mode, flags uint32) (*Ring, error) {
	if entries < 1 || entries > EntriesMax {
		return nil, fmt.Errorf("uring: %d entries, want 1 to %d", entries, EntriesMax)
	}
	for {
		p := params{flags: modeFlags[mode] | setupClamp | flags}
		fd, err := setup(uint32(entries), &p)
		if err == sys.EINVAL && mode != ModeInterrupt {
			mode = ModeInterrupt
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("io_uring_setup: %w", err)
		}
		if p.features&(featSingleMmap|featNodrop) != featSingleMmap|featNodrop {
			sys.Close(fd)
			return nil, errors.New("uring: this kernel's io_uring is too old; Linux 5.5 or later is needed")
		}
		r := &Ring{fd: fd, mode: mode, entries: p.sqEntries}
		if err := r.mapRings(&p); err != nil {
			r.Close()
			return nil, fmt.Errorf("uring: map the rings: %w", err)
		}
		return r, nil
	}
}

// Entries is the number of operations that may be in flight.
func (r *Ring) Entries() int { return int(r.entries) }

// Mode is the mode that was got.
func (r *Ring) Mode() Mode { return r.mode }

// Next returns the next free submission, zeroed, or nil when Entries submissions
// wait for Enter. It is submitted by Enter.
func (r *Ring) Next() *SQE {
	if r.tail-atomic.LoadUint32(r.sqHead) >= r.entries {
		return nil
	}
	sqe := &r.sqes[r.tail&r.sqMask]
	*sqe = SQE{}
	r.tail++
	return sqe
}

// Pending reports whether Enter has something to do: submissions to start or
// ends of operations to run.
func (r *Ring) Pending() bool {
	return r.tail != r.entered || atomic.LoadUint32(r.sqFlags)&(sqTaskrun|sqCQOverflow) != 0
}

// Enter starts the submissions written since the last call, lets the kernel
// finish what has ended, and blocks until wait completions are there to be
// popped. An interrupted wait returns early with no error, as does a kernel that
// is momentarily short of memory: callers look and enter again.
func (r *Ring) Enter(wait int) error {
	atomic.StoreUint32(r.sqTail, r.tail)
	n, err := enter(r.fd, r.tail-r.entered, uint32(wait), enterGetevents)
	switch err {
	case 0:
		r.entered += uint32(n)
	case sys.EINTR, sys.EAGAIN, sys.EBUSY:
	default:
		return fmt.Errorf("io_uring_enter: %w", err)
	}
	return nil
}

// Pop takes the next completion.
func (r *Ring) Pop() (CQE, bool) {
	if r.head == atomic.LoadUint32(r.cqTail) {
		return CQE{}, false
	}
	cqe := r.cqes[r.head&r.cqMask]
	r.head++
	atomic.StoreUint32(r.cqHead, r.head)
	return cqe, true
}

// Close ends the ring. What is in flight is cancelled where the device allows
// it, and otherwise finishes in the kernel's own time.
func (r *Ring) Close() error {
	if r.rings != nil {
		sys.Munmap(r.rings)
	}
	if r.slots != nil {
		sys.Munmap(r.slots)
	}
	return sys.Close(r.fd)
}
