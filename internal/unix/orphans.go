package unix

import (
	"fmt"
	"os"
	"syscall"

	sys "golang.org/x/sys/unix"
)

// AdoptOrphans makes this process the parent of all its descendants whose own parents
// end. It then has to call WaitChildren.
func AdoptOrphans() error {
	return os.NewSyscallError("prctl(PR_SET_CHILD_SUBREAPER)", sys.Prctl(sys.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
}

// WaitChildren reaps every child of this process, calls ended for it, and returns when
// there is none left. Nobody else may wait for a child meanwhile.
func WaitChildren(ended func(pid int, status syscall.WaitStatus)) error {
	for {
		var status sys.WaitStatus
		switch pid, err := sys.Wait4(-1, &status, 0, nil); err {
		case nil:
			ended(pid, syscall.WaitStatus(status))
		case sys.EINTR:
		case sys.ECHILD:
			return nil
		default:
			return fmt.Errorf("wait for children: %w", os.NewSyscallError("wait4", err))
		}
	}
}

// LeaveTerminal moves this process, which must not lead its group, into a session of
// its own, with the open file fd as its standard input, output and error.
func LeaveTerminal(fd int) error {
	if _, err := sys.Setsid(); err != nil {
		return os.NewSyscallError("setsid", err)
	}
	for standard := range 3 {
		if err := sys.Dup3(fd, standard, 0); err != nil {
			return os.NewSyscallError("dup3", err)
		}
	}
	return nil
}
