// Package pump joins a link and a port of the switch: what comes in by one leaves by
// the other. So an uplink is a domain of its own and an ordinary client of the
// network server: the death of the server touches neither the link nor its
// descriptors, and the server needs none of the link's privileges.
//
// # Invariants
//
//   - A frame that finds the port's ring full waits, and with it the link's queue in
//     the kernel; one that finds the link full is offered again, offersMax times, and
//     then dropped and counted.
//   - What the domain itself has to say out of the link, and the answers to that, never
//     reach the port: see Send and Filter.
//   - What the link held when Drain was called has been taken by the server when it
//     returns nil.
//   - The headers that are looked at are those of a copy: the port's memory can be
//     changed by the server.
//
// # Locks
//
// Each direction has one goroutine. mu guards the link, since both use it and so does
// Send, and the bell; it is a leaf. Frames received stay valid while the other goroutine
// transmits.
package pump

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/client/frames"
	"github.com/quintet-os/quintet/network/link"
)

const (
	// offersMax bounds how often a frame is offered to a link that is full.
	offersMax = 256
	// pollFrames bounds the frames taken from the port at once.
	pollFrames = 64

	// Intervals between two looks of Drain, whom nobody wakes.
	drainPeriodMin, drainPeriodMax = 100 * time.Microsecond, 50 * time.Millisecond
)

// Pump joins a link and a port. Run it once.
type Pump struct {
	// Filter, if it is set before Run, is shown every frame that comes in by the link;
	// what it takes does not go to the port. It must neither block nor keep the frame,
	// which lies in the link's memory.
	Filter func(frame []byte) (taken bool)

	port *frames.Port
	room chan struct{} // there is, after there was none
	full atomic.Uint64

	// Drain counts asked, and comeIn sets emptied to what asked was when it began to look
	// at a link that it then found empty.
	asked, emptied atomic.Uint64

	mu    sync.Mutex
	link  link.Link
	bell  int  // wakes comeIn, while Run runs
	ended bool // Run has returned, so the link may be closed

	head [link.HeadBytesMin]byte
	out  [1]link.Frame
}

// New joins a link and a port, which are the caller's to close when Run has returned.
func New(l link.Link, port *frames.Port) *Pump {
	return &Pump{link: l, port: port, room: make(chan struct{}, 1), bell: -1}
}

// Run carries frames until ctx ends, which is no error, or the port or the link has
// come to its end. A link that is down is waited for.
func (p *Pump) Run(ctx context.Context) error {
	bell, err := unix.CreateEventfd()
	if err != nil {
		p.end()
		return fmt.Errorf("pump: %w", err)
	}
	defer unix.Close(bell)
	defer p.end() // before the bell is closed
	epoll, err := unix.NewEpoll(2)
	if err != nil {
		return fmt.Errorf("pump: %w", err)
	}
	defer epoll.Close()
	if err := errors.Join(epoll.Add(bell, 0), epoll.Add(p.link.Wakeup(), 1)); err != nil {
		return fmt.Errorf("pump: watch %s: %w", p.link.Info().Name, err)
	}
	p.mu.Lock()
	p.bell = bell
	p.mu.Unlock()
	inner, end := context.WithCancelCause(ctx)
	var running sync.WaitGroup
	running.Go(func() { end(p.leave(inner)) })
	running.Go(func() { end(p.comeIn(inner, epoll)) })
	<-inner.Done()
	_ = unix.Ring(bell)
	running.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return context.Cause(inner)
}

// end says that Run has returned.
func (p *Pump) end() {
	p.mu.Lock()
	p.bell, p.ended = -1, true
	p.mu.Unlock()
}

// Drain waits until the server has taken all that has come by the link so far, or will
// never: Run has returned. Otherwise the error is that of ctx. One goroutine may call it,
// while Run runs.
func (p *Pump) Drain(ctx context.Context) error {
	turn := p.asked.Add(1)
	if !p.wake() {
		return nil
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for wait := drainPeriodMin; p.emptied.Load() < turn || !p.port.Taken(); wait = min(2*wait, drainPeriodMax) {
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if !p.wake() {
			return nil
		}
	}
	return nil
}

// wake has comeIn look at the link, if it sleeps, and returns false when Run has returned.
func (p *Pump) wake() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bell >= 0 {
		_ = unix.Ring(p.bell) // it is open while Run runs, and then nothing else can fail
	}
	return !p.ended
}

// Full is how many frames were dropped because the link had no room.
func (p *Pump) Full() uint64 { return p.full.Load() }

// Counters are those of the link.
func (p *Pump) Counters() link.Counters {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.link.Counters()
}

// leave carries frames from the port to the link.
func (p *Pump) leave(ctx context.Context) error {
	var failed error
	transmit := func(data []byte, o network.Offload) {
		n := copy(p.head[:], data)
		p.out[0] = link.Frame{Head: p.head[:n], Rest: data[n:], Offload: o}
		if err := p.transmit(p.out[:]); err != nil && !errors.Is(err, link.KindDown) {
			failed = err
		}
	}
	for failed == nil && ctx.Err() == nil {
		n, err := p.port.Poll(pollFrames, transmit)
		if err != nil {
			return err
		}
		if n == 0 {
			if err := p.port.Wait(ctx); err != nil {
				return err
			}
		}
		select {
		case p.room <- struct{}{}:
		default:
		}
	}
	return failed
}

// Send sends a finished frame of the domain's own out of the link, from any goroutine,
// before and while Run runs; afterwards the error is net.ErrClosed. Like any other, the
// frame may be dropped and counted. Other errors are those of link.Link.Transmit.
func (p *Pump) Send(frame []byte) error {
	n := min(len(frame), link.HeadBytesMin)
	return p.transmit([]link.Frame{{Head: frame[:n], Rest: frame[n:]}})
}

// transmit offers one frame to the link until it takes it.
func (p *Pump) transmit(frame []link.Frame) error {
	for range offersMax {
		p.mu.Lock()
		if p.ended {
			p.mu.Unlock()
			return net.ErrClosed
		}
		n, err := p.link.Transmit(frame)
		p.mu.Unlock()
		if n == 1 || err != nil {
			return err
		}
		runtime.Gosched()
	}
	p.full.Add(1)
	return nil
}

// comeIn carries frames from the link to the port.
func (p *Pump) comeIn(ctx context.Context, epoll *unix.Epoll) error {
	var frames [link.BatchMax]link.Frame
	for ctx.Err() == nil {
		asked := p.asked.Load()
		p.mu.Lock()
		n, err := p.link.Receive(frames[:])
		p.mu.Unlock()
		for i := range frames[:n] {
			if p.Filter != nil && p.Filter(frames[i].Head) {
				continue
			}
			if err := p.deliver(ctx, &frames[i]); err != nil {
				return err
			}
		}
		if err != nil && !errors.Is(err, link.KindDown) {
			return err
		}
		if n == 0 {
			p.emptied.Store(asked)
			if err := epoll.Wait(-1, func(int32) {}); err != nil {
				return fmt.Errorf("pump: %w", err)
			}
		}
	}
	return nil
}

func (p *Pump) deliver(ctx context.Context, f *link.Frame) error {
	for !p.port.Send(f.Offload, f.Head, f.Rest) {
		select {
		case <-p.room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
