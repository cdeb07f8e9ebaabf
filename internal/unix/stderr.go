package unix

import (
	"os"

	sys "golang.org/x/sys/unix"
)

// BecomeStderr makes an open file the standard error of this process.
func BecomeStderr(fd int) error { return os.NewSyscallError("dup3", sys.Dup3(fd, 2, 0)) }
