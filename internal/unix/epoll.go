package unix

import (
	"os"
	"time"

	sys "golang.org/x/sys/unix"
)

// Epoll is an epoll instance. Wait belongs to one goroutine; Add and Remove may
// be called from any.
type Epoll struct {
	fd     int
	events []sys.EpollEvent
}

// NewEpoll returns an epoll instance that reports at most eventsMax events a
// call of Wait.
func NewEpoll(eventsMax int) (*Epoll, error) {
	fd, err := sys.EpollCreate1(sys.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	return &Epoll{fd: fd, events: make([]sys.EpollEvent, eventsMax)}, nil
}

// Add watches fd for input, edge-triggered: each new arrival is reported once,
// whether or not the descriptor is ever read. Events carry token.
func (e *Epoll) Add(fd int, token int32) error {
	ev := sys.EpollEvent{Events: sys.EPOLLIN | sys.EPOLLET, Fd: token}
	return os.NewSyscallError("epoll_ctl(ADD)", sys.EpollCtl(e.fd, sys.EPOLL_CTL_ADD, fd, &ev))
}

// Remove ends the watching of fd.
func (e *Epoll) Remove(fd int) error {
	return os.NewSyscallError("epoll_ctl(DEL)", sys.EpollCtl(e.fd, sys.EPOLL_CTL_DEL, fd, nil))
}

// Wait blocks until something is reported or timeout has passed (negative: for
// ever; zero: not at all), and calls report with each token. An interrupted
// wait returns early with no error.
func (e *Epoll) Wait(timeout time.Duration, report func(token int32)) error {
	ms := -1
	if timeout >= 0 {
		ms = int((timeout + time.Millisecond - 1) / time.Millisecond)
	}
	var n int
	var err error
	if ms == 0 {
		n, err = epollPoll(e.fd, e.events)
	} else {
		n, err = sys.EpollWait(e.fd, e.events, ms)
	}
	if err != nil && err != sys.EINTR {
		return os.NewSyscallError("epoll_wait", err)
	}
	for i := range max(n, 0) {
		report(e.events[i].Fd)
	}
	return nil
}

// Close closes the instance.
func (e *Epoll) Close() error {
	return Close(e.fd)
}

// Descriptor becomes readable when something is to be reported.
func (e *Epoll) Descriptor() int { return e.fd }
