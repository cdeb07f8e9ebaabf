package probe

import (
	"fmt"
	"runtime"
	"unsafe"

	sys "golang.org/x/sys/unix"

	"github.com/quintet-os/quintet/internal/unix/uring"
)

// Operations of linux/io_uring.h.
const (
	opConnect = 16
	opOpenat  = 18
	opStatx   = 21
	opMkdirat = 37
	opSocket  = 45
)

func rings() []Attempt {
	path := func(p string) uintptr {
		b := append([]byte(p), 0)
		kept = append(kept, b)
		return uintptr(unsafe.Pointer(&b[0]))
	}
	return []Attempt{
		{Name: "io_uring: open a file", Do: func(t Target) error {
			return submit(opOpenat, sys.AT_FDCWD, path(t.File), 0, 0)
		}},
		{Name: "io_uring: statx", Metadata: true, Do: func(t Target) error {
			var st sys.Statx_t
			pin.Pin(&st)
			return submit(opStatx, sys.AT_FDCWD, path(t.File), sys.STATX_BASIC_STATS, uint64(uintptr(unsafe.Pointer(&st))))
		}},
		{Name: "io_uring: create a directory", Creates: true, Do: func(t Target) error {
			return submit(opMkdirat, sys.AT_FDCWD, path(t.Directory+"/ring"), 0o700, 0)
		}},
		{Name: "io_uring: connect by TCP", Do: func(t Target) error {
			fd, err := submitFor(opSocket, sys.AF_INET, 0, 0, sys.SOCK_STREAM)
			if err != nil {
				return err
			}
			address := sys.RawSockaddrInet4{Family: sys.AF_INET, Port: uint16(t.Port>>8 | t.Port&0xff<<8), Addr: loopback}
			pin.Pin(&address)
			return submit(opConnect, fd, uintptr(unsafe.Pointer(&address)), 0, uint64(unsafe.Sizeof(address)))
		}},
		{Name: "io_uring: vsock socket", Filter: true, Do: func(Target) error {
			return submit(opSocket, sys.AF_VSOCK, 0, 0, sys.SOCK_STREAM)
		}},
		{Name: "io_uring: a ring of its own", Filter: true, Do: func(Target) error {
			var params [120]byte // struct io_uring_params
			fd, _, errno := sys.Syscall(sys.SYS_IO_URING_SETUP, 8, uintptr(unsafe.Pointer(&params)), 0)
			if errno != 0 {
				return errno
			}
			return sys.Close(int(fd))
		}},
	}
}

// What the kernel reads after the call that named it has returned.
var (
	kept [][]byte
	pin  runtime.Pinner
)

func submit(opcode uint8, fd int, address uintptr, length uint32, offset uint64) error {
	_, err := submitFor(opcode, fd, address, length, offset)
	return err
}

// submitFor runs one operation on a ring and returns its result.
func submitFor(opcode uint8, fd int, address uintptr, length uint32, offset uint64) (int, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if ring == nil {
		var err error
		if ring, err = uring.New(8, uring.ModeDefer); err != nil {
			return -1, fmt.Errorf("no ring to try with: %w", err)
		}
	}
	ring.Next().Raw(opcode, int32(fd), uint64(address), length, offset)
	if err := ring.Enter(1); err != nil {
		return -1, err
	}
	cqe, ok := ring.Pop()
	if !ok {
		return -1, sys.EAGAIN
	}
	if cqe.Result < 0 {
		return -1, sys.Errno(-cqe.Result)
	}
	return int(cqe.Result), nil
}

// ring is shared, since a sandbox may have reserved only one.
var ring *uring.Ring
