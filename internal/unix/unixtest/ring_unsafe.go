package unixtest

import (
	"unsafe"

	sys "golang.org/x/sys/unix"
)

// ring returns an io_uring of one entry, if the host lets this process make one.
func ring() (fd int, ok bool) {
	var parameters [120]byte // struct io_uring_params
	n, _, errno := sys.Syscall(sys.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&parameters)), 0)
	return int(n), errno == 0
}
