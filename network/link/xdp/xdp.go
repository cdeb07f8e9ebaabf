// Package xdp is an uplink over queues of an interface of Linux by AF_XDP: frames
// pass through memory shared with the kernel or the driver, past the kernel's stack.
//
// Open takes the queues and needs privileges; New drives them and needs none, so that
// a supervisor can keep the descriptors. A successor finds frames that came in
// meanwhile in the rings. With a driver that does not copy, it loses for good the
// few chunks that its predecessor held: which of those the driver still writes to
// cannot be seen.
//
// Super-segments are cut and checksums finished here: AF_XDP has no offloads. Nor has
// it any for what comes in: an interface whose other end leaves checksums to be
// finished by hardware that is not there, like one of a veth pair, must be told
// otherwise (ethtool -K DEVICE tx off, at the other end).
//
// What comes in by other queues of the interface goes to the host's stack: give the
// link all queues, or steer the flows.
package xdp

import (
	"errors"
	"fmt"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/link"
	"github.com/quintet-os/quintet/network/segment"
)

// Link is some queues of an interface.
type Link struct {
	name        string
	mtu         int
	descriptors *Descriptors
	queues      []*queue
	next        int // the queue to be received from first
	epoll       *unix.Epoll
	cutter      segment.Cutter
	frame       []byte // a segment longer than a chunk, before it is divided
	counters    link.Counters
}

// New makes a link of what Open returned, here or in another process, and owns the
// descriptors from now on, even if it fails. name is shown in errors; mtu bounds what is
// sent, and must be what Open was given. Errors are *link.Error.
func New(d *Descriptors, name string, mtu int) (*Link, error) {
	l := &Link{name: name, mtu: mtu, descriptors: d}
	if err := l.open(); err != nil {
		l.Close()
		return nil, link.WrapOpen(name, "use AF_XDP", err)
	}
	return l, nil
}

func (l *Link) open() error {
	if jumbo(l.mtu) {
		l.frame = make([]byte, l.mtu+network.EthernetBytes+network.TagBytes)
	}
	for _, d := range l.descriptors.Queues {
		q, err := newQueue(d)
		if err != nil {
			return err
		}
		l.queues = append(l.queues, q)
	}
	if len(l.queues) == 0 {
		return fmt.Errorf("no queues: %w", unix.ErrInvalid)
	}
	if len(l.queues) == 1 {
		return nil
	}
	var err error
	if l.epoll, err = unix.NewEpoll(len(l.queues)); err != nil {
		return err
	}
	for i, q := range l.queues {
		if err := l.epoll.Add(q.fd, int32(i)); err != nil {
			return err
		}
	}
	return nil
}

// Info describes the interface.
func (l *Link) Info() link.Info {
	return link.Info{Name: l.name, MTU: l.mtu, Native: l.queues[0].socket.ZeroCopy()}
}

// Counters are those of link.Link; Lost is counted by the kernel, not here.
func (l *Link) Counters() link.Counters { return l.counters }

// Receive takes frames, from queue after queue. That an interface is down or gone is
// not noticed here, only on transmission.
func (l *Link) Receive(frames []link.Frame) (n int, err error) {
	frames = frames[:min(len(frames), link.BatchMax)]
	for _, q := range l.queues {
		q.refill()
	}
	for range l.queues {
		n += l.queues[l.next].receive(frames[n:])
		l.next = (l.next + 1) % len(l.queues)
	}
	for i := range frames[:n] {
		l.counters.Received++
		l.counters.ReceivedBytes += uint64(frames[i].Len())
	}
	return n, nil
}

// Transmit cuts, sums, and sends frames.
func (l *Link) Transmit(frames []link.Frame) (n int, err error) {
	frames = frames[:min(len(frames), link.BatchMax)]
	for ; n < len(frames); n++ {
		f := &frames[n]
		if reason, ok := link.Admit(f, l.mtu); !ok {
			l.counters.Drops[reason]++
			continue
		}
		l.cutter.Reset(f.Head, f.Rest, f.Offload)
		q := l.queues[0]
		if len(l.queues) > 1 {
			q = l.queues[segment.FlowHash(f.Head)%uint32(len(l.queues))]
		}
		pieces := l.cutter.Frames() * ((l.cutter.Longest() + chunkBytes - 1) / chunkBytes)
		if !q.room(pieces) {
			if err := q.kick(); err != nil {
				return n, link.Wrap(l.name, "transmit", err)
			}
			if !q.room(pieces) {
				break
			}
		}
		q.send(&l.cutter, l.frame)
		l.counters.Sent++
		l.counters.SentBytes += uint64(f.Len())
	}
	for _, q := range l.queues {
		if err := q.kick(); err != nil {
			return n, link.Wrap(l.name, "transmit", err)
		}
	}
	return n, nil
}

// Wakeup is the socket of the queue, or a descriptor that watches all.
func (l *Link) Wakeup() int {
	if l.epoll != nil {
		return l.epoll.Descriptor()
	}
	return l.queues[0].fd
}

// Close lets go of the queues. They, and the frames in them, go on if somebody else
// has the descriptors too.
func (l *Link) Close() error {
	var errs []error
	for _, q := range l.queues {
		errs = append(errs, q.close())
	}
	if l.epoll != nil {
		errs = append(errs, l.epoll.Close())
	}
	return errors.Join(append(errs, l.descriptors.Close())...)
}

var _ link.Link = (*Link)(nil)
