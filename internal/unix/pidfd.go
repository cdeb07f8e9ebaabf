package unix

import (
	"errors"
	"os"
	"syscall"

	sys "golang.org/x/sys/unix"
)

// Pidfd names one process for good: unlike a pid it is never reused. Methods
// are safe for concurrent use.
type Pidfd struct {
	file *os.File
	raw  syscall.RawConn
}

// OpenPidfd returns a Pidfd of the process that has this pid now. It fails
// with ESRCH if there is none, and needs Linux 5.10 (PIDFD_NONBLOCK).
func OpenPidfd(pid int) (*Pidfd, error) {
	fd, err := sys.PidfdOpen(pid, sys.PIDFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	return NewPidfd(fd)
}

// NewPidfd takes over a pidfd descriptor, such as one from clone or SO_PEERPIDFD.
func NewPidfd(fd int) (*Pidfd, error) {
	if err := sys.SetNonblock(fd, true); err != nil {
		_ = sys.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return &Pidfd{file: file, raw: raw}, nil
}

// Wait returns nil once the process has ended, zombie or reaped, and
// os.ErrClosed if the Pidfd is closed first. It parks in the netpoller.
func (p *Pidfd) Wait() error {
	var pollErr error
	err := p.raw.Read(func(fd uintptr) bool {
		ended, err := ended(int(fd))
		pollErr = err
		return ended || err != nil
	})
	if err != nil {
		return os.ErrClosed // the poller's own error for it is internal
	}
	return pollErr
}

// Ended says whether the process has ended.
func (p *Pidfd) Ended() bool {
	is := false
	err := p.raw.Control(func(fd uintptr) { is, _ = ended(int(fd)) })
	return err == nil && is
}

// Signal sends sig. A process that has ended is no error; after Close the error is
// os.ErrClosed.
func (p *Pidfd) Signal(sig syscall.Signal) error {
	var sendErr error
	err := p.raw.Control(func(fd uintptr) {
		sendErr = sys.PidfdSendSignal(int(fd), sig, nil, 0)
	})
	if err != nil {
		return os.ErrClosed
	}
	if errors.Is(sendErr, sys.ESRCH) {
		return nil
	}
	return os.NewSyscallError("pidfd_send_signal", sendErr)
}

// Close releases the descriptor and ends every Wait.
func (p *Pidfd) Close() error { return p.file.Close() }

func ended(pidfd int) (bool, error) {
	fds := []sys.PollFd{{Fd: int32(pidfd), Events: sys.POLLIN}}
	err := retryInterrupted(func() error {
		_, err := sys.Poll(fds, 0)
		return err
	})
	return fds[0].Revents&(sys.POLLIN|sys.POLLHUP) != 0, os.NewSyscallError("poll", err)
}
