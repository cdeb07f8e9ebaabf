package unix

import (
	"errors"

	"golang.org/x/sys/unix"
)

// SetNonblock makes reads and writes of an open description return instead of
// waiting.
func SetNonblock(fd int) error { return unix.SetNonblock(fd, true) }

// TryWrite writes what there is room for to a descriptor that does not block, and
// returns how much that was, 0 when there is none.
func TryWrite(fd int, p []byte) (int, error) {
	for {
		n, err := unix.Write(fd, p)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return 0, nil
		}
		return max(n, 0), err
	}
}
