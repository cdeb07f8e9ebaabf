package unix

import (
	"fmt"
	"syscall"
	"unsafe"

	sys "golang.org/x/sys/unix"
)

// LandlockABI is the version of Landlock that the kernel offers, 1 or more.
// It fails with ENOSYS when it was not built in and EOPNOTSUPP when it is
// switched off at boot. See landlock_create_ruleset(2).
func LandlockABI() (int, error) {
	abi, _, errno := sys.Syscall(sys.SYS_LANDLOCK_CREATE_RULESET, 0, 0, sys.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0, errno
	}
	return int(abi), nil
}

// LandlockDenyAll takes from every thread of the process, for good, each file
// system, signal and abstract-socket access that the kernel's Landlock can control,
// and unless tcp is true that of TCP (descriptors already open keep their rights). It
// returns the ABI version used. The threads must have no_new_privs set.
func LandlockDenyAll(tcp bool) (abi int, err error) {
	if abi, err = LandlockABI(); err != nil {
		return 0, err
	}
	attr := landlockAll(abi)
	if tcp {
		attr.Handled_access_net = 0
	}
	fd, _, errno := sys.Syscall(sys.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return abi, fmt.Errorf("create ruleset: %w", errno)
	}
	defer sys.Close(int(fd))
	return abi, AllThreads(sys.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0)
}

// landlockAll names the accesses each ABI version knows, as the table of
// "Kernel interface" in the kernel's userspace-api/landlock lists them. Unknown
// bits would be refused, so versions beyond the table get the newest row.
func landlockAll(abi int) sys.LandlockRulesetAttr {
	attr := sys.LandlockRulesetAttr{Handled_access_fs: sys.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1}
	if abi >= 2 {
		attr.Handled_access_fs |= sys.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		attr.Handled_access_fs |= sys.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 4 {
		attr.Handled_access_net = sys.LANDLOCK_ACCESS_NET_BIND_TCP | sys.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if abi >= 5 {
		attr.Handled_access_fs |= sys.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if abi >= 6 {
		attr.Scoped = sys.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | sys.LANDLOCK_SCOPE_SIGNAL
	}
	return attr
}

// AllThreads makes one system call on every thread of the process, with the
// world stopped. It fails with ENOTSUP in a binary built with cgo, whose
// threads the Go runtime does not own, and panics if threads get different
// results. See [syscall.AllThreadsSyscall].
func AllThreads(call, a1, a2, a3 uintptr) error {
	if _, _, errno := syscall.AllThreadsSyscall(call, a1, a2, a3); errno != 0 {
		return errno
	}
	return nil
}
