// Package probe holds what a process that has been taken over would try, to
// reach beyond the descriptors it was given. Tests run every attempt inside a
// sandbox, where it must fail, and outside, where it must succeed: only then
// does the failure prove anything. Only tests import it.
package probe

import (
	"fmt"
	"os"
	"path/filepath"

	sys "golang.org/x/sys/unix"
)

// Target is what the attempts aim at. All of it must exist and be open to the
// user who runs them.
type Target struct {
	File      string // readable
	Directory string // writable
	Socket    string // path of a listening Unix socket
	Abstract  string // name of a listening abstract Unix socket, with the leading @
	Port      int    // of a listening TCP socket on 127.0.0.1
	Pid       int    // of a traceable process of the same user
	Address   uint64 // of 8 bytes of its memory
}

// Attempt is one way out.
type Attempt struct {
	Name string
	Do   func(Target) error // nil: the way is open
	// Filter: only the system-call filter is in the way. The attempt makes
	// something of its own that the other layers isolate or do not know.
	Filter bool
	// Metadata: Landlock does not refuse it, so it takes the empty root.
	Metadata bool
	// Root: it needs privileges outside, too.
	Root bool
	// Creates: it leaves something in Directory.
	Creates bool
}

// All returns every attempt; those on files come first.
func All() []Attempt {
	all := append(files(), sockets()...)
	all = append(all, processes()...)
	all = append(all, kernel()...)
	return append(all, rings()...)
}

func open(path string, flags int) error {
	fd, err := sys.Open(path, flags|sys.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	return sys.Close(fd)
}

func files() []Attempt {
	read := func(name string, path func(Target) string) Attempt {
		return Attempt{Name: "read " + name, Do: func(t Target) error { return open(path(t), sys.O_RDONLY) }}
	}
	fixed := func(path string) Attempt { return read(path, func(Target) string { return path }) }
	return []Attempt{
		read("a file", func(t Target) string { return t.File }),
		read("a file through the parents of the working directory", func(t Target) string {
			return "../../../../../../../../.." + t.File
		}),
		read("a file through the root of another process", func(t Target) string {
			return fmt.Sprintf("/proc/%d/root%s", t.Pid, t.File)
		}),
		fixed("/"), fixed("."), fixed(".."), fixed("/proc/self/status"), fixed("/proc/1/status"), fixed("/dev/null"), fixed("/sys/kernel"),
		{Name: "openat2", Do: func(t Target) error {
			fd, err := sys.Openat2(sys.AT_FDCWD, t.File, &sys.OpenHow{Flags: sys.O_RDONLY})
			if err == nil {
				err = sys.Close(fd)
			}
			return err
		}},
		{Name: "list the root", Do: func(Target) error {
			entries, err := os.ReadDir("/")
			if err == nil && len(entries) == 0 {
				err = sys.ENOENT
			}
			return err
		}},
		{Name: "stat", Metadata: true, Do: func(t Target) error {
			var st sys.Stat_t
			return sys.Stat(t.File, &st)
		}},
		{Name: "statx", Metadata: true, Do: func(t Target) error {
			var st sys.Statx_t
			return sys.Statx(sys.AT_FDCWD, t.File, sys.AT_EMPTY_PATH, sys.STATX_BASIC_STATS, &st)
		}},
		{Name: "chdir", Metadata: true, Do: func(t Target) error { return sys.Chdir(t.Directory) }},
		{Name: "create a file", Creates: true, Do: func(t Target) error {
			return open(filepath.Join(t.Directory, "file"), sys.O_CREAT|sys.O_WRONLY)
		}},
		{Name: "create a directory", Creates: true, Do: func(t Target) error {
			return sys.Mkdir(filepath.Join(t.Directory, "directory"), 0o700)
		}},
		{Name: "open by handle", Root: true, Do: func(t Target) error {
			handle, _, err := sys.NameToHandleAt(sys.AT_FDCWD, t.File, 0)
			if err != nil {
				return err
			}
			directory, err := sys.Open(filepath.Dir(t.File), sys.O_RDONLY|sys.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer sys.Close(directory)
			fd, err := sys.OpenByHandleAt(directory, handle, sys.O_RDONLY)
			if err == nil {
				err = sys.Close(fd)
			}
			return err
		}},
	}
}

func connect(family, kind int, to sys.Sockaddr) error {
	fd, err := sys.Socket(family, kind|sys.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer sys.Close(fd)
	if to == nil {
		return nil
	}
	return sys.Connect(fd, to)
}

var loopback = [4]byte{127, 0, 0, 1}

func sockets() []Attempt {
	return []Attempt{
		{Name: "connect by TCP", Do: func(t Target) error {
			return connect(sys.AF_INET, sys.SOCK_STREAM, &sys.SockaddrInet4{Port: t.Port, Addr: loopback})
		}},
		{Name: "connect by UDP", Do: func(t Target) error {
			return connect(sys.AF_INET, sys.SOCK_DGRAM, &sys.SockaddrInet4{Port: t.Port, Addr: loopback})
		}},
		{Name: "connect to a Unix socket", Metadata: true, Do: func(t Target) error {
			return connect(sys.AF_UNIX, sys.SOCK_STREAM, &sys.SockaddrUnix{Name: t.Socket})
		}},
		{Name: "connect to an abstract Unix socket", Do: func(t Target) error {
			return connect(sys.AF_UNIX, sys.SOCK_STREAM, &sys.SockaddrUnix{Name: t.Abstract})
		}},
		{Name: "netlink socket", Filter: true, Do: func(Target) error { return connect(sys.AF_NETLINK, sys.SOCK_RAW, nil) }},
		{Name: "vsock socket", Filter: true, Do: func(Target) error { return connect(sys.AF_VSOCK, sys.SOCK_STREAM, nil) }},
		{Name: "packet socket", Root: true, Do: func(Target) error { return connect(sys.AF_PACKET, sys.SOCK_RAW, nil) }},
	}
}
