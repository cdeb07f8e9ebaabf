package unix

import (
	"encoding/binary"
	"os"

	sys "golang.org/x/sys/unix"
)

// CreateEventfd returns a new non-blocking, close-on-exec eventfd.
func CreateEventfd() (int, error) {
	fd, err := sys.Eventfd(0, sys.EFD_CLOEXEC|sys.EFD_NONBLOCK)
	return fd, os.NewSyscallError("eventfd2", err)
}

// Ring adds one to an eventfd. A full counter is not an error: whoever waits
// has been told already.
func Ring(fd int) error {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], 1)
	for {
		_, err := sys.Write(fd, b[:])
		switch err {
		case nil, sys.EAGAIN:
			return nil
		case sys.EINTR:
			continue
		}
		return os.NewSyscallError("write(eventfd)", err)
	}
}
