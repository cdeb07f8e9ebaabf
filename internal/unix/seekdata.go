package unix

import (
	"errors"
	"os"

	sys "golang.org/x/sys/unix"
)

// ErrNoData is returned by SeekData when only a hole follows.
var ErrNoData = errors.New("no data up to the end of the file")

// SeekData returns the offset of the first data of a file at or after off, and
// moves the file's own offset there. File systems that do not know holes say
// that everything is data.
func SeekData(fd int, off int64) (int64, error) {
	at, err := sys.Seek(fd, off, sys.SEEK_DATA)
	if err == sys.ENXIO {
		return 0, ErrNoData
	}
	return at, os.NewSyscallError("lseek SEEK_DATA", err)
}
