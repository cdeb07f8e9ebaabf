package unix

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	sys "golang.org/x/sys/unix"
)

// packetDescriptorsMax bounds the descriptors one packet may carry. The
// kernel allows 253 (SCM_MAX_FD); no message of ours needs more than four.
const packetDescriptorsMax = 8

// ErrTruncated reports a packet or its descriptors that did not fit the
// receiver's buffer. The descriptors that did arrive have been closed.
var ErrTruncated = errors.New("packet truncated")

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
// descriptors, which are close-on-exec and the caller's to close. It waits in
// the netpoller if wait is set, and returns EAGAIN otherwise when there is no
// packet. A length of zero with a nil error means that the peer has closed. With
// ErrNoRoom the length is that of a whole packet.
func ReceivePacket(c *net.UnixConn, p []byte, wait bool) (n int, fds []int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, nil, err
	}
	var flags int
	var recvErr error
	err = raw.Read(func(fd uintptr) bool {
		n, fds, flags, recvErr = receive(int(fd), p)
		return recvErr != sys.EAGAIN || !wait
	})
	if err == nil {
		err = recvErr
	}
	switch {
	case err != nil:
	case flags&sys.MSG_TRUNC != 0, flags&sys.MSG_CTRUNC != 0 && len(fds) == packetDescriptorsMax:
		err = ErrTruncated
	case flags&sys.MSG_CTRUNC != 0:
		// The buffer for descriptors is not full: the table of the process is.
		CloseAll(fds)
		return n, nil, ErrNoRoom
	}
	if err != nil {
		CloseAll(fds)
		return 0, nil, err
	}
	return n, fds, nil
}

func receive(fd int, p []byte) (n int, fds []int, flags int, err error) {
	oob := make([]byte, sys.CmsgSpace(packetDescriptorsMax*4))
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
