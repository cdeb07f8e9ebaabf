package unix

import (
	"unsafe"

	sys "golang.org/x/sys/unix"
)

// CPU returns the number of the processor that the calling thread runs on. It
// may have moved already.
func CPU() uint32 {
	var cpu uint32
	sys.RawSyscall(sys.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0)
	return cpu
}
