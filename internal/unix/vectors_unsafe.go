package unix

import (
	"unsafe"

	sys "golang.org/x/sys/unix"
)

// vectorsMax bounds the pieces of one frame.
const vectorsMax = 4

// ReadFrame reads one frame from a non-blocking descriptor into the pieces.
// Errors are bare error numbers.
func ReadFrame(fd int, pieces ...[]byte) (int, error) {
	return transferFrame(sys.SYS_READV, fd, pieces)
}

// WriteFrame writes the pieces as one frame to a non-blocking descriptor, as
// ReadFrame reads.
func WriteFrame(fd int, pieces ...[]byte) (int, error) {
	return transferFrame(sys.SYS_WRITEV, fd, pieces)
}

func transferFrame(call uintptr, fd int, pieces [][]byte) (int, error) {
	var vectors [vectorsMax]sys.Iovec
	n := setVectors(&vectors, pieces)
	for {
		done, _, errno := sys.Syscall(call, uintptr(fd), uintptr(unsafe.Pointer(&vectors)), uintptr(n))
		switch errno {
		case 0:
			return int(done), nil
		case sys.EINTR:
			continue
		}
		return 0, errno
	}
}

func setVectors(vectors *[vectorsMax]sys.Iovec, pieces [][]byte) (n int) {
	for _, piece := range pieces {
		if len(piece) > 0 {
			vectors[n].Base = unsafe.SliceData(piece)
			vectors[n].SetLen(len(piece))
			n++
		}
	}
	return n
}
