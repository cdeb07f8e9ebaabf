package unix

import (
	"fmt"
	"math"

	sys "golang.org/x/sys/unix"
)

// CloseOnExecFrom marks every descriptor from first on close-on-exec.
func CloseOnExecFrom(first int) error {
	return sys.CloseRange(uint(first), math.MaxUint32, sys.CLOSE_RANGE_CLOEXEC)
}

// CloseInherited closes the descriptors from first on that were open before
// the program was executed, and marks those below first close-on-exec. What
// the program opened itself is recognised by its close-on-exec mark, which no
// descriptor inherited through execve(2) can have.
func CloseInherited(first int) error {
	soft, _, err := Limits(LimitDescriptors)
	if err != nil {
		return fmt.Errorf("find the limit of descriptors: %w", err)
	}
	for fd := range int(min(soft, inheritedMax)) {
		flags, err := sys.FcntlInt(uintptr(fd), sys.F_GETFD, 0)
		switch {
		case err != nil:
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

// inheritedMax bounds the search for inherited descriptors: 0.2 us each.
const inheritedMax = 4096
