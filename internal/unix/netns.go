package unix

import (
	"os"

	sys "golang.org/x/sys/unix"
)

// UnshareNetwork puts the calling thread, which must be locked, into a new network
// namespace. It needs CAP_SYS_ADMIN.
func UnshareNetwork() error {
	return os.NewSyscallError("unshare(CLONE_NEWNET)", sys.Unshare(sys.CLONE_NEWNET))
}

// EnterNetwork puts the calling thread, which must be locked, into the network
// namespace that fd refers to. It needs CAP_SYS_ADMIN over that.
func EnterNetwork(fd int) error {
	return os.NewSyscallError("setns(CLONE_NEWNET)", sys.Setns(fd, sys.CLONE_NEWNET))
}
