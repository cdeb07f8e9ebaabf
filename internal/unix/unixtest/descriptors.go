// Package unixtest makes descriptors of every kind that a program without privileges
// can get hold of, for the tests of those to whom strangers pass descriptors.
package unixtest

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	sys "golang.org/x/sys/unix"

	"github.com/quintet-os/quintet/internal/testenv"
)

// Descriptor is an open file of some kind. It is closed at the end of the test.
type Descriptor struct {
	Kind string
	FD   int
}

// Ring is the kind that newer kernels do not pass on.
const Ring = "an io_uring"

const fixedSize = sys.F_SEAL_SEAL | sys.F_SEAL_SHRINK | sys.F_SEAL_GROW

// Strange returns one descriptor of each kind that is no memory to be shared, though
// some come near: size is the size of those that have one.
func Strange(t testing.TB, size int64) []Descriptor {
	t.Helper()
	var all []Descriptor
	add := func(kind string, fd int, err error) int {
		t.Helper()
		if err != nil {
			testenv.Skip(t, fmt.Sprintf("this host makes no %s: %v", kind, err))
		}
		t.Cleanup(func() { _ = sys.Close(fd) })
		all = append(all, Descriptor{kind, fd})
		return fd
	}
	open := func(kind, path string, flags int) {
		t.Helper()
		fd, err := sys.Open(path, flags|sys.O_CLOEXEC, 0)
		add(kind, fd, err)
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	open("a file", path, sys.O_RDWR)
	open("a directory", filepath.Dir(path), sys.O_RDONLY)
	open("a path", path, sys.O_PATH)
	open("/dev/null", "/dev/null", sys.O_RDWR)
	open("/dev/zero", "/dev/zero", sys.O_RDWR)
	open("/proc/self/mem", "/proc/self/mem", sys.O_RDWR)
	open("a namespace", "/proc/self/ns/net", sys.O_RDONLY)

	memory := func(kind string, flags, seals int, length int64) int {
		t.Helper()
		fd, err := sys.MemfdCreate("strange", sys.MFD_CLOEXEC|flags)
		add(kind, fd, err)
		if err := sys.Ftruncate(fd, length); err != nil {
			t.Fatal(err)
		}
		if seals != 0 {
			if _, err := sys.FcntlInt(uintptr(fd), sys.F_ADD_SEALS, seals); err != nil {
				t.Fatal(err)
			}
		}
		return fd
	}
	memory("memory that cannot be sealed", 0, 0, size)
	memory("memory without seals", sys.MFD_ALLOW_SEALING, 0, size)
	memory("memory that may shrink", sys.MFD_ALLOW_SEALING, fixedSize&^sys.F_SEAL_SHRINK, size)
	memory("memory that may grow", sys.MFD_ALLOW_SEALING, fixedSize&^sys.F_SEAL_GROW, size)
	memory("memory that may be sealed further", sys.MFD_ALLOW_SEALING, fixedSize&^sys.F_SEAL_SEAL, size)
	memory("memory that is too short", sys.MFD_ALLOW_SEALING, fixedSize, size-1)
	memory("memory that is too long", sys.MFD_ALLOW_SEALING, fixedSize, size+1)
	memory("huge pages", sys.MFD_ALLOW_SEALING|sys.MFD_HUGETLB, fixedSize|sys.F_SEAL_FUTURE_WRITE, 2<<20)
	memory("memory that nobody may write", sys.MFD_ALLOW_SEALING, fixedSize|sys.F_SEAL_WRITE, size)
	good := memory("memory that is too long by a page", sys.MFD_ALLOW_SEALING, fixedSize|sys.F_SEAL_FUTURE_WRITE, size+4096)
	open("memory to be written only", fmt.Sprintf("/proc/self/fd/%d", good), sys.O_WRONLY)
	open("the path of memory", fmt.Sprintf("/proc/self/fd/%d", good), sys.O_PATH)
	fd, _, errno := sys.Syscall(sys.SYS_MEMFD_SECRET, sys.O_CLOEXEC, 0, 0)
	if errno == 0 {
		add("secret memory", int(fd), sys.Ftruncate(int(fd), size))
	}

	var pipe [2]int
	err := sys.Pipe2(pipe[:], sys.O_CLOEXEC)
	add("the end of a pipe that is read", pipe[0], err)
	add("the end of a pipe that is written", pipe[1], err)
	pair, err := sys.Socketpair(sys.AF_UNIX, sys.SOCK_SEQPACKET|sys.SOCK_CLOEXEC, 0)
	add("a Unix socket", pair[0], err)
	add("its peer", pair[1], err)
	for kind, domain := range map[string][2]int{
		"a TCP socket": {sys.AF_INET, sys.SOCK_STREAM}, "a UDP socket": {sys.AF_INET6, sys.SOCK_DGRAM},
		"a netlink socket": {sys.AF_NETLINK, sys.SOCK_RAW},
	} {
		fd, err := sys.Socket(domain[0], domain[1]|sys.SOCK_CLOEXEC, 0)
		add(kind, fd, err)
	}
	event, err := sys.Eventfd(0, sys.EFD_CLOEXEC)
	add("an eventfd that blocks", event, err)
	poll, err := sys.EpollCreate1(sys.EPOLL_CLOEXEC)
	add("an epoll", poll, err)
	if err := sys.EpollCtl(poll, sys.EPOLL_CTL_ADD, event, &sys.EpollEvent{Events: sys.EPOLLIN}); err != nil {
		t.Fatal(err)
	}
	timer, err := sys.TimerfdCreate(sys.CLOCK_MONOTONIC, sys.TFD_CLOEXEC)
	add("a timerfd", timer, err)
	signals, err := sys.Signalfd(-1, new(sys.Sigset_t), sys.SFD_CLOEXEC)
	add("a signalfd", signals, err)
	notify, err := sys.InotifyInit1(sys.IN_CLOEXEC)
	add("an inotify", notify, err)
	process, err := sys.PidfdOpen(os.Getpid(), 0)
	add("a pidfd", process, err)
	if fd, _, errno := sys.Syscall(sys.SYS_USERFAULTFD, sys.O_CLOEXEC|userModeOnly, 0, 0); errno == 0 {
		add("a userfaultfd", int(fd), nil)
	}
	if ring, ok := ring(); ok {
		add(Ring, ring, nil)
	}
	return all
}

// userModeOnly is UFFD_USER_MODE_ONLY, which needs no privileges.
const userModeOnly = 1

// lingerSeconds is how long closing a Lingering socket takes while the test lasts:
// for ever.
const lingerSeconds = 1 << 20

// Lingering returns a TCP socket whose last close waits until release is called, or
// the test ends: what it has sent is never read, and it lingers.
func Lingering(t testing.TB) (fd int, release func()) {
	t.Helper()
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	listener, err := sys.Socket(sys.AF_INET, sys.SOCK_STREAM|sys.SOCK_CLOEXEC, 0)
	fail(err)
	defer sys.Close(listener)
	fail(sys.Bind(listener, &sys.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	fail(sys.Listen(listener, 1))
	at, err := sys.Getsockname(listener)
	fail(err)
	fd, err = sys.Socket(sys.AF_INET, sys.SOCK_STREAM|sys.SOCK_CLOEXEC, 0)
	fail(err)
	fail(sys.Connect(fd, at))
	peer, _, err := sys.Accept4(listener, sys.SOCK_CLOEXEC)
	fail(err)
	fail(sys.SetsockoptLinger(fd, sys.SOL_SOCKET, sys.SO_LINGER, &sys.Linger{Onoff: 1, Linger: lingerSeconds}))
	piece := make([]byte, 1<<16)
	for err == nil {
		_, err = sys.SendmsgN(fd, piece, nil, nil, sys.MSG_DONTWAIT|sys.MSG_NOSIGNAL)
	}
	released := false
	release = func() {
		if !released {
			released = true
			_ = sys.SetsockoptLinger(peer, sys.SOL_SOCKET, sys.SO_LINGER, &sys.Linger{Onoff: 1}) // resets the connection
			_ = sys.Close(peer)
		}
	}
	t.Cleanup(release)
	return fd, release
}

// Unanswered returns a file of a FUSE file system that answers nothing any more: not
// fstat, and not close. The release ends the file system. It needs root.
func Unanswered(t testing.TB) (fd int, release func()) {
	t.Helper()
	testenv.RequireRoot(t)
	path := filepath.Join(t.TempDir(), "unanswered")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	device, err := sys.Open("/dev/fuse", sys.O_RDWR|sys.O_CLOEXEC, 0)
	if err != nil {
		testenv.Skip(t, fmt.Sprintf("no FUSE: %v", err))
	}
	released := false
	release = func() {
		if !released {
			released = true
			_ = sys.Unmount(path, sys.MNT_FORCE) // ends every request with an error, whoever waits
			_ = sys.Unmount(path, sys.MNT_DETACH)
			_ = sys.Close(device)
		}
	}
	t.Cleanup(release)
	options := fmt.Sprintf("fd=%d,rootmode=100000,user_id=0,group_id=0", device)
	if err := sys.Mount("unixtest", path, "fuse", sys.MS_NOSUID|sys.MS_NODEV, options); err != nil {
		testenv.Skip(t, fmt.Sprintf("mount FUSE: %v", err))
	}
	answered := make(chan error, 1)
	go func() { answered <- openAnswered(device) }()
	fd, err = sys.Open(path, sys.O_RDWR|sys.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	return fd, release
}

// Requests of FUSE, and where their parts are.
const (
	fuseOpen, fuseInit = 14, 26
	fuseHeader         = 16 // of an answer: length, error, number of the request
	fuseVersionMinor   = 23 // with a short answer to init
	fuseInitBytes      = 64
	fuseOpenBytes      = 16
)

// openAnswered answers the requests of an open, and none after it.
func openAnswered(device int) error {
	request := make([]byte, 1<<17)
	for {
		n, err := sys.Read(device, request)
		if err == sys.EINTR || err == sys.EAGAIN {
			continue
		}
		if err != nil {
			return fmt.Errorf("read a request of FUSE: %w", err)
		}
		if n < 16 {
			return fmt.Errorf("a request of FUSE of %d bytes", n)
		}
		kind, number := binary.NativeEndian.Uint32(request[4:]), binary.NativeEndian.Uint64(request[8:])
		answer := make([]byte, fuseHeader)
		switch kind {
		case fuseInit:
			answer = make([]byte, fuseHeader+fuseInitBytes)
			binary.NativeEndian.PutUint32(answer[16:], 7)
			binary.NativeEndian.PutUint32(answer[20:], fuseVersionMinor)
			binary.NativeEndian.PutUint32(answer[36:], 4096) // max_write
		case fuseOpen:
			answer = make([]byte, fuseHeader+fuseOpenBytes)
		default:
			refused := -int32(sys.ENOSYS)
			binary.NativeEndian.PutUint32(answer[4:], uint32(refused))
		}
		binary.NativeEndian.PutUint32(answer, uint32(len(answer)))
		binary.NativeEndian.PutUint64(answer[8:], number)
		if _, err := sys.Write(device, answer); err != nil {
			return fmt.Errorf("answer FUSE: %w", err)
		}
		if kind == fuseOpen {
			return nil
		}
	}
}
