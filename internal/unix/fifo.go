package unix

import (
	"os"

	sys "golang.org/x/sys/unix"
)

// MakeFIFO makes a named pipe at path.
func MakeFIFO(path string, mode uint32) error {
	return os.NewSyscallError("mkfifo", sys.Mkfifo(path, mode))
}
