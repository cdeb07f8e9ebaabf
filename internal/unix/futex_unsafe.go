package unix

import (
	"os"
	"time"
	"unsafe"

	sys "golang.org/x/sys/unix"
)

const (
	futexWake = 1
	// Futex2 flag for a 32-bit word; private futexes are not used, since the
	// words may be shared with another process.
	futex2SizeU32 = 0x02
	// FutexWordsMax is the most words one FutexWaitAny takes (FUTEX_WAITV_MAX).
	FutexWordsMax = 128
)

// FutexWake wakes everybody who waits on word, in any process that maps it.
// It does not block.
func FutexWake(word *uint32) {
	const everybody = 1<<31 - 1
	sys.RawSyscall6(sys.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWake, everybody, 0, 0, 0)
}

// FutexWaiter is one word of FutexWaitAny, as struct futex_waitv of futex.h.
type FutexWaiter struct {
	value    uint64
	address  uint64
	flags    uint32
	reserved uint32
}

// Set makes w wait while *word is value. The word must lie outside the Go heap
// or be kept alive by the caller.
func (w *FutexWaiter) Set(word *uint32, value uint32) {
	*w = FutexWaiter{value: uint64(value), address: uint64(uintptr(unsafe.Pointer(word))), flags: futex2SizeU32}
}

// FutexWaitAny blocks while every word has its value, until a FutexWake on one
// of them or, when timeout is positive, until it has passed. It may return
// early for no reason: callers look again. At most FutexWordsMax words.
func FutexWaitAny(words []FutexWaiter, timeout time.Duration) error {
	var deadline *sys.Timespec
	if timeout > 0 {
		var now sys.Timespec
		if err := sys.ClockGettime(sys.CLOCK_MONOTONIC, &now); err != nil {
			return os.NewSyscallError("clock_gettime", err)
		}
		ts := sys.NsecToTimespec(now.Nano() + int64(timeout))
		deadline = &ts
	}
	_, _, errno := sys.Syscall6(sys.SYS_FUTEX_WAITV, uintptr(unsafe.Pointer(&words[0])), uintptr(len(words)), 0,
		uintptr(unsafe.Pointer(deadline)), sys.CLOCK_MONOTONIC, 0)
	switch errno {
	case 0, sys.EAGAIN, sys.EINTR, sys.ETIMEDOUT:
		return nil
	}
	return os.NewSyscallError("futex_waitv", errno)
}
