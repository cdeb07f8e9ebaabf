package unix

import (
	"errors"
	"os"
	"syscall"

	sys "golang.org/x/sys/unix"
)

// KernelRelease is the release of the running kernel, such as 6.1.0-13-amd64.
func KernelRelease() (string, error) {
	var u sys.Utsname
	if err := sys.Uname(&u); err != nil {
		return "", os.NewSyscallError("uname", err)
	}
	return sys.ByteSliceToString(u.Release[:]), nil
}

// FutexWaitvSupported is nil if futex_waitv(2) exists (Linux 5.16).
func FutexWaitvSupported() error { return exists(sys.SYS_FUTEX_WAITV) }

// MsealSupported is nil if mseal(2) exists (Linux 6.10, 64 bits).
func MsealSupported() error { return exists(sys.SYS_MSEAL) }

// exists makes a call with no arguments, which those above refuse or ignore.
func exists(number uintptr) error {
	if _, _, errno := sys.Syscall6(number, 0, 0, 0, 0, 0, 0); errno == sys.ENOSYS || errno == sys.EPERM {
		return errno
	}
	return nil
}

// PkeysSupported is nil if the processor and the kernel have memory protection
// keys: pkeys(7).
func PkeysSupported() error {
	key, _, errno := sys.Syscall(sys.SYS_PKEY_ALLOC, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	if _, _, errno := sys.Syscall(sys.SYS_PKEY_FREE, key, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// XDPSupported is nil if this process may make AF_XDP sockets.
func XDPSupported() error {
	fd, err := sys.Socket(sys.AF_XDP, sys.SOCK_RAW|sys.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket(AF_XDP)", err)
	}
	return Close(fd)
}

// OwnThreads is nil if the Go runtime made every thread of the process, so that
// AllThreads works: the binary was built without cgo.
func OwnThreads() error { return AllThreads(sys.SYS_GETPID, 0, 0, 0) }

// NamespacesSupported is nil if this process may start another in the
// namespaces that flags, of clone(2), name. With a user namespace it maps the
// present user.
func NamespacesSupported(flags uintptr) error {
	attr := &syscall.SysProcAttr{Cloneflags: flags}
	if flags&sys.CLONE_NEWUSER != 0 {
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	// A directory cannot be executed: the clone succeeds or fails before that
	// is found out, and no program is needed.
	_, err := os.StartProcess("/", []string{"/"}, &os.ProcAttr{Sys: attr})
	if errors.Is(err, sys.EACCES) {
		return nil
	}
	return err
}

// DirectIO is nil if files in the directory can be opened with O_DIRECT.
func DirectIO(directory string) error {
	f, err := os.CreateTemp(directory, ".direct-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	return SetDirect(int(f.Fd()))
}

// PrivateMemfd is nil if a memfd can be sealed against all writers but the one
// that has it mapped.
func PrivateMemfd() error {
	fd, err := CreateMemfd("quintet-doctor", 4096)
	if err != nil {
		return err
	}
	defer Close(fd)
	return AddSeals(fd, sys.F_SEAL_SHRINK|sys.F_SEAL_GROW|sys.F_SEAL_FUTURE_WRITE|sys.F_SEAL_SEAL)
}

// MayCreateIn is nil if this user may create entries in the directory.
func MayCreateIn(directory string) error {
	return sys.Faccessat(sys.AT_FDCWD, directory, sys.W_OK|sys.X_OK, sys.AT_EACCESS)
}
