package unixtest

import (
	"encoding/binary"
	"math"

	sys "golang.org/x/sys/unix"
)

// FillEventfd makes an eventfd as full as it can be: ringing it would block.
func FillEventfd(fd int) error {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], math.MaxUint64-1)
	_, err := sys.Write(fd, b[:])
	return err
}
