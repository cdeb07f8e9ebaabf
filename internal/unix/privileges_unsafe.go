package unix

import (
	"fmt"
	"unsafe"

	sys "golang.org/x/sys/unix"
)

// Capabilities that a sandboxed process holds until it has built its sandbox.
const (
	CapSetpcap  = sys.CAP_SETPCAP
	CapSysAdmin = sys.CAP_SYS_ADMIN
)

// NoNewPrivileges makes sure that no thread of the process can gain privileges
// by execve(2), for good.
func NoNewPrivileges() error {
	if err := AllThreads(sys.SYS_PRCTL, sys.PR_SET_NO_NEW_PRIVS, 1, 0); err != nil {
		return fmt.Errorf("PR_SET_NO_NEW_PRIVS: %w", err)
	}
	return nil
}

// NoNewPrivilegesHere does it for the calling thread only.
func NoNewPrivilegesHere() error {
	return sys.Prctl(sys.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

// DropBoundingSet takes every capability out of the bounding set of every
// thread. It needs CAP_SETPCAP.
func DropBoundingSet() error {
	for c := uintptr(0); ; c++ {
		held, err := sys.PrctlRetInt(sys.PR_CAPBSET_READ, c, 0, 0, 0)
		if err == sys.EINVAL {
			return nil // beyond the kernel's last capability
		}
		if err != nil {
			return fmt.Errorf("read bounding capability %d: %w", c, err)
		}
		if held == 0 {
			continue
		}
		if err := AllThreads(sys.SYS_PRCTL, sys.PR_CAPBSET_DROP, c, 0); err != nil {
			return fmt.Errorf("drop bounding capability %d: %w", c, err)
		}
	}
}

// DropCapabilities empties the permitted, effective, inheritable and ambient
// sets of every thread.
func DropCapabilities() error {
	header := sys.CapUserHeader{Version: sys.LINUX_CAPABILITY_VERSION_3}
	var data [2]sys.CapUserData
	return AllThreads(sys.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)), 0)
}

// SetUndumpable keeps others of the same user from tracing the process or
// reading its memory, and the kernel from dumping it to disk. See prctl(2),
// PR_SET_DUMPABLE.
func SetUndumpable() error { return sys.Prctl(sys.PR_SET_DUMPABLE, 0, 0, 0, 0) }

// SetParentDeathSignal has the kernel send sig when the *thread* that created
// the process ends.
func SetParentDeathSignal(sig sys.Signal) error {
	return sys.Prctl(sys.PR_SET_PDEATHSIG, uintptr(sig), 0, 0, 0)
}
