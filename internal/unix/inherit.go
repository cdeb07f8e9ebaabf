package unix

import (
	"fmt"
	"os"
	"strconv"

	sys "golang.org/x/sys/unix"
)

// CloseInherited closes the descriptors from first on that were open before
// the program was executed, and marks those below first close-on-exec. What
// the program opened itself is recognised by its close-on-exec mark, which no
// descriptor inherited through execve(2) can have. It needs /proc.
func CloseInherited(first int) error {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("find inherited descriptors: %w", err)
	}
	for _, entry := range open {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil {
			return fmt.Errorf("find inherited descriptors: %w", err)
		}
		flags, err := sys.FcntlInt(uintptr(fd), sys.F_GETFD, 0)
		switch {
		case err == sys.EBADF: // the one that read the directory
		case err != nil:
			return fmt.Errorf("look at descriptor %d: %w", fd, err)
		case fd < first:
			sys.CloseOnExec(fd)
		case flags&sys.FD_CLOEXEC == 0:
			if err := sys.Close(fd); err != nil {
				return fmt.Errorf("close inherited descriptor %d: %w", fd, err)
			}
		}
	}
	return nil
}
