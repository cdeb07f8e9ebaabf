// Package tap is an uplink over a TAP interface of Linux: what the switch sends,
// the kernel's stack receives, and the other way round, as super-segments with
// unfinished checksums.
//
// The descriptors are passed in, one for each queue of the interface, so that
// somebody who outlives the server can keep them: then the interface keeps its
// carrier, addresses and queued frames while a server dies and another takes over.
// Frames of one flow leave by one queue, and the kernel answers a flow on the queue
// that it came by.
package tap

import (
	"errors"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/link"
	"github.com/quintet-os/quintet/network/link/vnet"
	"github.com/quintet-os/quintet/network/segment"
)

// QueuesMax bounds the queues of one interface; the kernel allows 256.
const QueuesMax = 16

// Open returns the descriptors of so many queues of the TAP interface of that name
// in the caller's network namespace, and creates the interface if there is none.
// With persist, it outlives its descriptors. Errors are *link.Error.
func Open(name string, queues int, persist bool) ([]int, error) {
	if queues < 1 || queues > QueuesMax {
		return nil, &link.Error{Kind: link.KindConfig, Link: name, Op: "open TAP", Err: errQueues}
	}
	fds, err := unix.OpenTAP(name, queues)
	if err != nil {
		return nil, link.WrapOpen(name, "open TAP", err)
	}
	if err := unix.PersistTAP(fds[0], persist); err != nil {
		closeAll(fds)
		return nil, link.WrapOpen(name, "make TAP persistent", err)
	}
	return fds, nil
}

// Persist says whether the interface of a queue outlives its descriptors. Errors are
// *link.Error.
func Persist(fd int, persist bool) error {
	return link.WrapOpen("tap", "make TAP persistent", unix.PersistTAP(fd, persist))
}

var errQueues = errors.New("1 to 16 queues are possible")

// Link is a TAP interface.
type Link struct {
	name     string
	mtu      int
	fds      []int
	epoll    *unix.Epoll // of several queues; nil with one
	next     int         // the queue to be looked at first
	buffers  []byte      // of BatchMax frames
	header   [vnet.Bytes]byte
	counters link.Counters
}

// New makes a link of the queues that Open returned, here or in another process,
// and owns the descriptors from now on, even if it fails. mtu bounds what is sent.
// Errors are *link.Error.
func New(fds []int, mtu int) (*Link, error) {
	l := &Link{name: "tap", mtu: mtu, fds: fds}
	if err := l.open(); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (l *Link) open() error {
	if len(l.fds) < 1 || len(l.fds) > QueuesMax {
		return &link.Error{Kind: link.KindConfig, Link: l.name, Op: "use TAP", Err: errQueues}
	}
	for _, fd := range l.fds {
		name, err := unix.PrepareTAP(fd)
		if err != nil {
			return link.WrapOpen(l.name, "use TAP", err)
		}
		l.name = name
	}
	if len(l.fds) > 1 {
		var err error
		if l.epoll, err = unix.NewEpoll(len(l.fds)); err != nil {
			return link.WrapOpen(l.name, "watch the queues", err)
		}
		for i, fd := range l.fds {
			if err := l.epoll.Add(fd, int32(i)); err != nil {
				return link.WrapOpen(l.name, "watch the queues", err)
			}
		}
	}
	l.buffers = make([]byte, link.BatchMax*network.BufferBytes)
	return nil
}

// Info describes the interface.
func (l *Link) Info() link.Info {
	return link.Info{Name: l.name, MTU: l.mtu, Checksum: true, GSO: true}
}

// Counters are those of link.Link; what the kernel loses for want of room in its
// queue is counted by the interface as dropped on transmission, not here.
func (l *Link) Counters() link.Counters { return l.counters }

// Receive reads frames, from queue after queue.
func (l *Link) Receive(frames []link.Frame) (n int, err error) {
	frames = frames[:min(len(frames), link.BatchMax)]
	for empty := 0; n < len(frames) && empty < len(l.fds); {
		buffer := l.buffers[n*network.BufferBytes : (n+1)*network.BufferBytes]
		size, err := unix.ReadFrame(l.fds[l.next], l.header[:], buffer)
		if err != nil {
			l.next = (l.next + 1) % len(l.fds)
			empty++
			if err != unix.ErrAgain {
				return n, l.fail("receive", err)
			}
			continue
		}
		empty = 0
		frame := buffer[:max(size-vnet.Bytes, 0)]
		offload, ok := vnet.Decode(&l.header, frame)
		if !ok {
			l.counters.Drops[network.DropMalformed]++
			continue
		}
		frames[n] = link.Frame{Head: frame, Offload: offload}
		l.counters.Received++
		l.counters.ReceivedBytes += uint64(len(frame))
		n++
	}
	return n, nil
}

// Transmit writes frames. The kernel always has room.
func (l *Link) Transmit(frames []link.Frame) (n int, err error) {
	for n = range frames[:min(len(frames), link.BatchMax)] {
		f := &frames[n]
		if reason, ok := link.Admit(f, l.mtu); !ok {
			l.counters.Drops[reason]++
			continue
		}
		vnet.Encode(&l.header, f.Head, f.Offload)
		switch _, err := unix.WriteFrame(l.queue(f), l.header[:], f.Head, f.Rest); err {
		case nil:
			l.counters.Sent++
			l.counters.SentBytes += uint64(f.Len())
		case unix.ErrAgain, unix.ErrNoBuffers:
			return n, nil
		case unix.ErrInvalid:
			l.counters.Drops[network.DropMalformed]++
		default:
			return n, l.fail("transmit", err)
		}
	}
	return min(len(frames), link.BatchMax), nil
}

// fail tells an interface that is down, for which the kernel returns EIO, from
// other failures.
func (l *Link) fail(op string, err error) error {
	if err == unix.ErrIO {
		return &link.Error{Kind: link.KindDown, Link: l.name, Op: op, Err: err}
	}
	return link.Wrap(l.name, op, err)
}

// queue chooses by the addresses and ports of a frame, or what stands there.
func (l *Link) queue(f *link.Frame) int {
	if len(l.fds) == 1 {
		return l.fds[0]
	}
	return l.fds[segment.FlowHash(f.Head)%uint32(len(l.fds))]
}

// Wakeup is the descriptor of the queue, or one that watches all.
func (l *Link) Wakeup() int {
	if l.epoll != nil {
		return l.epoll.Descriptor()
	}
	return l.fds[0]
}

// Close closes the queues. The interface goes with them unless it is persistent or
// somebody else has the descriptors too.
func (l *Link) Close() error {
	var err error
	if l.epoll != nil {
		err = l.epoll.Close()
	}
	return errors.Join(err, closeAll(l.fds))
}

func closeAll(fds []int) error {
	var errs []error
	for _, fd := range fds {
		errs = append(errs, unix.Close(fd))
	}
	return errors.Join(errs...)
}

var _ link.Link = (*Link)(nil)
