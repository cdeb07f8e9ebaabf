package unix

import (
	"errors"
	"net"
	"os"

	sys "golang.org/x/sys/unix"
)

// Peer is the process at the other end of a Unix socket as the kernel
// recorded it when the connection was made.
type Peer struct {
	PID int
	UID uint32
	GID uint32
}

// PeerOf returns the credentials of the process that connected c.
func PeerOf(c *net.UnixConn) (Peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var cred *sys.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = sys.GetsockoptUcred(int(fd), sys.SOL_SOCKET, sys.SO_PEERCRED)
	}); err != nil {
		return Peer{}, err
	}
	if credErr != nil {
		return Peer{}, os.NewSyscallError("getsockopt SO_PEERCRED", credErr)
	}
	return Peer{PID: int(cred.Pid), UID: cred.Uid, GID: cred.Gid}, nil
}

// PeerPidfd returns a Pidfd of the process that connected c. Kernels before
// 6.5 lack SO_PEERPIDFD: there the pid is opened instead, which may name
// another process if the peer has died and its pid was reused in between.
func PeerPidfd(c *net.UnixConn) (*Pidfd, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	var getErr error
	if err := raw.Control(func(s uintptr) {
		fd, getErr = sys.GetsockoptInt(int(s), sys.SOL_SOCKET, sys.SO_PEERPIDFD)
	}); err != nil {
		return nil, err
	}
	if getErr == nil {
		return NewPidfd(fd)
	}
	if !errors.Is(getErr, sys.ENOPROTOOPT) {
		return nil, os.NewSyscallError("getsockopt SO_PEERPIDFD", getErr)
	}
	peer, err := PeerOf(c)
	if err != nil {
		return nil, err
	}
	return OpenPidfd(peer.PID)
}
