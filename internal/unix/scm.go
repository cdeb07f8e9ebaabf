package unix

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	sys "golang.org/x/sys/unix"
)

// ErrTruncated reports a packet or its descriptors that did not fit the
// receiver's buffer. The descriptors that did arrive have been closed.
var ErrTruncated = errors.New("packet truncated")

// ErrEmpty reports a packet without content. Its descriptors have been closed.
var ErrEmpty = errors.New("empty packet")

// ErrNoRoom reports a packet whose descriptors the kernel could not install,
// because the process has as many as RLIMIT_NOFILE allows. Those that did arrive
// have been closed.
var ErrNoRoom = errors.New("no room for a packet's descriptors")

// SocketPair returns both ends of a connected SOCK_SEQPACKET Unix socket,
// non-blocking and close-on-exec. Each end is the caller's to close.
func SocketPair() (a, b *os.File, err error) {
	fds, err := sys.Socketpair(sys.AF_UNIX, sys.SOCK_SEQPACKET|sys.SOCK_CLOEXEC|sys.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "socketpair"), os.NewFile(uintptr(fds[1]), "socketpair"), nil
}

// SendPacket writes one packet with descriptors to a SOCK_SEQPACKET
// connection and waits, in the netpoller, while the peer's queue is full. The
// descriptors stay the caller's. Safe for concurrent use; packets do not mix.
func SendPacket(c *net.UnixConn, p []byte, fds ...int) error {
	return sendPacket(c, p, fds, true)
}

// TrySendPacket is SendPacket that does not wait: EAGAIN when the peer's queue
// is full.
func TrySendPacket(c *net.UnixConn, p []byte, fds ...int) error {
	return sendPacket(c, p, fds, false)
}

func sendPacket(c *net.UnixConn, p []byte, fds []int, wait bool) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var oob []byte
	if len(fds) > 0 {
		oob = sys.UnixRights(fds...)
	}
	var sendErr error
	err = raw.Write(func(fd uintptr) bool {
		sendErr = retryInterrupted(func() error {
			return sys.Sendmsg(int(fd), p, oob, nil, sys.MSG_NOSIGNAL|sys.MSG_DONTWAIT)
		})
		return sendErr != sys.EAGAIN || !wait
	})
	if err != nil {
		return err
	}
	return os.NewSyscallError("sendmsg", sendErr)
}

// WaitReadable blocks the calling thread, not the goroutine alone, until there
// is something to receive or the peer has closed.
func WaitReadable(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var pollErr error
	err = raw.Control(func(fd uintptr) {
		fds := []sys.PollFd{{Fd: int32(fd), Events: sys.POLLIN}}
		pollErr = retryInterrupted(func() error {
			_, err := sys.Poll(fds, -1)
			return err
		})
	})
	if err == nil {
		err = os.NewSyscallError("poll", pollErr)
	}
	return err
}

// ReceivePacket reads one packet into p and returns its length and its
// descriptors, most at most, which are close-on-exec and the caller's to close. Of a
// packet with more, the others never get into this process. It waits in
// the netpoller if wait is set, and returns EAGAIN otherwise when there is no
// packet. A length of zero with a nil error means that the peer has closed. With
// ErrNoRoom the length is that of a whole packet.
func ReceivePacket(c *net.UnixConn, p []byte, most int, wait bool) (n int, fds []int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, nil, err
	}
	var flags int
	var recvErr error
	err = raw.Read(func(fd uintptr) bool {
		n, fds, flags, recvErr = receive(int(fd), p, most)
		return recvErr != sys.EAGAIN || !wait
	})
	if err == nil {
		err = recvErr
	}
	switch {
	case err != nil:
	case flags&sys.MSG_TRUNC != 0, flags&sys.MSG_CTRUNC != 0 && len(fds) >= most:
		err = ErrTruncated
	case flags&sys.MSG_CTRUNC != 0:
		// The buffer for descriptors is not full: the table of the process is.
		CloseAll(fds)
		return n, nil, ErrNoRoom
	}
	if err == nil && n == 0 && (len(fds) > 0 || !hungUp(raw)) {
		err = ErrEmpty
	}
	if err != nil {
		CloseAll(fds)
		return 0, nil, err
	}
	return n, fds, nil
}

// hungUp tells whether the peer of a socket has closed it.
func hungUp(raw syscall.RawConn) bool {
	up := true
	err := raw.Control(func(fd uintptr) {
		fds := []sys.PollFd{{Fd: int32(fd), Events: sys.POLLRDHUP}}
		err := retryInterrupted(func() error {
			_, err := sys.Poll(fds, 0)
			return err
		})
		up = err == nil && fds[0].Revents == 0
	})
	return err != nil || !up
}

func receive(fd int, p []byte, most int) (n int, fds []int, flags int, err error) {
	oob := make([]byte, sys.CmsgSpace(most*4))
	var oobn int
	err = retryInterrupted(func() error {
		n, oobn, flags, _, err = sys.Recvmsg(fd, p, oob, sys.MSG_CMSG_CLOEXEC|sys.MSG_DONTWAIT)
		return err
	})
	if err != nil {
		return 0, nil, 0, err
	}
	messages, err := sys.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return 0, nil, 0, fmt.Errorf("parse control message: %w", err)
	}
	for i := range messages {
		if rights, err := sys.ParseUnixRights(&messages[i]); err == nil {
			fds = append(fds, rights...)
		}
	}
	return n, fds, flags, nil
}

// PassDescriptors decides whether packets with descriptors can be sent to a socket, or
// to the connections that a listener is going to accept: without, whoever sends one
// gets EPERM. Before Linux 6.16 it does nothing.
func PassDescriptors(socket syscall.Conn, may bool) error {
	value := 0
	if may {
		value = 1
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var setErr error
	err = raw.Control(func(fd uintptr) { setErr = sys.SetsockoptInt(int(fd), sys.SOL_SOCKET, soPassRights, value) })
	if err != nil || setErr == sys.ENOPROTOOPT {
		return err
	}
	return os.NewSyscallError("setsockopt SO_PASSRIGHTS", setErr)
}

// soPassRights is SO_PASSRIGHTS.
const soPassRights = 83

// SetNonblockingPackets makes a stranger's descriptor non-blocking, if it is a Unix socket of
// packets; any other kind is an error, and is not touched.
func SetNonblockingPackets(fd int) error {
	domain, err := sys.GetsockoptInt(fd, sys.SOL_SOCKET, sys.SO_DOMAIN)
	if err != nil {
		return os.NewSyscallError("getsockopt SO_DOMAIN", err)
	}
	kind, err := sys.GetsockoptInt(fd, sys.SOL_SOCKET, sys.SO_TYPE)
	if err != nil {
		return os.NewSyscallError("getsockopt SO_TYPE", err)
	}
	if domain != sys.AF_UNIX || kind != sys.SOCK_SEQPACKET {
		return fmt.Errorf("it is no Unix socket of packets (SOCK_SEQPACKET)")
	}
	return os.NewSyscallError("fcntl", sys.SetNonblock(fd, true))
}

// CloseAll closes descriptors whose errors no longer matter.
func CloseAll(fds []int) {
	for _, fd := range fds {
		_ = sys.Close(fd)
	}
}

func retryInterrupted(call func() error) error {
	for {
		err := call()
		if err != syscall.EINTR {
			return err
		}
	}
}
