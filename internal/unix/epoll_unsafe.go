package unix

import (
	"unsafe"

	sys "golang.org/x/sys/unix"
)

// epollPoll is epoll_wait with a zero timeout. It cannot block, so the runtime
// need not be told of it.
func epollPoll(fd int, events []sys.EpollEvent) (int, error) {
	n, _, errno := sys.RawSyscall6(sys.SYS_EPOLL_PWAIT, uintptr(fd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
