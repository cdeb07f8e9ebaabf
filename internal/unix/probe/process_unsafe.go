package probe

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	sys "golang.org/x/sys/unix"
)

func processes() []Attempt {
	return []Attempt{
		{Name: "signal another process", Do: func(t Target) error { return sys.Kill(t.Pid, 0) }},
		{Name: "open another process", Do: func(t Target) error {
			fd, err := sys.PidfdOpen(t.Pid, 0)
			if err == nil {
				err = sys.Close(fd)
			}
			return err
		}},
		{Name: "take a descriptor of another process", Do: func(t Target) error {
			pidfd, err := sys.PidfdOpen(t.Pid, 0)
			if err != nil {
				return err
			}
			defer sys.Close(pidfd)
			fd, err := sys.PidfdGetfd(pidfd, 0, 0)
			if err == nil {
				err = sys.Close(fd)
			}
			return err
		}},
		{Name: "read another process's memory", Do: func(t Target) error {
			var b [8]byte
			local := []sys.Iovec{{Base: &b[0], Len: uint64(len(b))}}
			remote := []sys.RemoteIovec{{Base: uintptr(t.Address), Len: len(b)}}
			_, err := sys.ProcessVMReadv(t.Pid, local, remote, 0)
			return err
		}},
		{Name: "open another process's memory", Do: func(t Target) error {
			return open(fmt.Sprintf("/proc/%d/mem", t.Pid), sys.O_RDWR)
		}},
		{Name: "trace another process", Do: func(t Target) error {
			runtime.LockOSThread() // tracing belongs to a thread
			if err := sys.PtraceAttach(t.Pid); err != nil {
				return err
			}
			if _, err := sys.Wait4(t.Pid, nil, 0, nil); err != nil {
				return err
			}
			return sys.PtraceDetach(t.Pid)
		}},
		{Name: "run a program", Filter: false, Do: func(Target) error {
			p, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{})
			if err == nil {
				_, err = p.Wait()
			}
			return err
		}},
	}
}

func kernel() []Attempt {
	call := func(number, a1, a2, a3 uintptr) error {
		if _, _, errno := sys.Syscall6(number, a1, a2, a3, 0, 0, 0); errno != 0 {
			return errno
		}
		return nil
	}
	return []Attempt{
		{Name: "mount", Root: true, Do: func(t Target) error {
			if err := sys.Mount("none", t.Directory, "tmpfs", 0, ""); err != nil {
				return err
			}
			return sys.Unmount(t.Directory, 0)
		}},
		{Name: "set the host name", Root: true, Do: func(Target) error {
			var u sys.Utsname
			if err := sys.Uname(&u); err != nil {
				return err
			}
			return sys.Sethostname([]byte(sys.ByteSliceToString(u.Nodename[:])))
		}},
		{Name: "load a BPF map", Root: true, Do: func(Target) error {
			attr := [32]uint32{2, 4, 4, 1} // BPF_MAP_TYPE_ARRAY of one word
			return call(sys.SYS_BPF, 0, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		}},
		{Name: "new user namespace", Filter: true, Do: func(Target) error {
			// A process of many threads cannot unshare; a new one can.
			return forkInto(sys.CLONE_NEWUSER)
		}},
		{Name: "fork", Filter: true, Do: func(Target) error { return forkInto(0) }},
		{Name: "memory file", Filter: true, Do: func(Target) error {
			fd, err := sys.MemfdCreate("probe", 0)
			if err == nil {
				err = sys.Close(fd)
			}
			return err
		}},
		{Name: "executable memory", Filter: true, Do: func(Target) error {
			mem, err := sys.Mmap(-1, 0, 4096, sys.PROT_READ|sys.PROT_WRITE|sys.PROT_EXEC, sys.MAP_PRIVATE|sys.MAP_ANON)
			if err == nil {
				err = sys.Munmap(mem)
			}
			return err
		}},
		{Name: "session keyring", Filter: true, Do: func(Target) error {
			return call(sys.SYS_KEYCTL, sys.KEYCTL_GET_KEYRING_ID, ^uintptr(2), 1) // KEY_SPEC_SESSION_KEYRING
		}},
		{Name: "System V shared memory", Filter: true, Do: func(Target) error {
			return call(sys.SYS_SHMGET, 0, 4096, 0o600)
		}},
		{Name: "listen for file events", Filter: true, Do: func(Target) error {
			fd, err := sys.InotifyInit1(0)
			if err == nil {
				err = sys.Close(fd)
			}
			return err
		}},
	}
}

// forkInto makes a process that ends at once.
func forkInto(namespaces uintptr) error {
	pid, _, errno := sys.RawSyscall6(sys.SYS_CLONE, namespaces|uintptr(sys.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	if pid == 0 {
		sys.RawSyscall(sys.SYS_EXIT_GROUP, 0, 0, 0)
	}
	_, err := sys.Wait4(int(pid), nil, 0, nil)
	return err
}

// Call makes the system call of that number with arguments that no call can
// use, and returns the kernel's answer. Calls without arguments do what they do.
func Call(number uintptr) sys.Errno {
	const none = ^uintptr(0)
	_, _, errno := sys.RawSyscall6(number, none, none, none, none, none, none)
	return errno
}

var exposed = [8]byte{'s', 'e', 'c', 'r', 'e', 't'}

// Expose lets every process of the same user trace this one, and returns the
// address of something to read.
func Expose() (address uint64, err error) {
	// Without Yama there is nothing to permit, and the call is unknown.
	if err := sys.Prctl(sys.PR_SET_PTRACER, ^uintptr(0), 0, 0, 0); err != nil && err != sys.EINVAL {
		return 0, err
	}
	return uint64(uintptr(unsafe.Pointer(&exposed))), nil
}

// Disruptive tells whether Call with this number, outside a sandbox, would stop
// or multiply the process, or disturb the host.
func Disruptive(number uintptr) bool {
	switch number {
	case sys.SYS_CLONE, sys.SYS_EXIT, sys.SYS_EXIT_GROUP, sys.SYS_KILL, sys.SYS_TKILL, sys.SYS_TGKILL, sys.SYS_VHANGUP,
		sys.SYS_SYNC, sys.SYS_REBOOT, sys.SYS_RT_SIGRETURN, sys.SYS_RT_SIGSUSPEND, sys.SYS_ACCT, sys.SYS_SYSLOG, sys.SYS_SETSID:
		return true
	}
	return disruptiveOfArch(number)
}
