package unix

import (
	sys "golang.org/x/sys/unix"
)

// Yield lets another thread that is ready run on this processor.
func Yield() { sys.RawSyscall(sys.SYS_SCHED_YIELD, 0, 0, 0) }
