// Package process runs the storage server's core as a process of its own: it
// receives volumes and sessions from the supervisor, waits as a warm standby,
// takes over when told to, and drives the core with package ipc's loop.
//
// Invariants:
//   - A standby maps everything and writes nothing that is shared. It touches
//     devices and sessions only after Activate, and sessions only after it holds
//     the lock of every device (see package storage/device on the fence).
//   - A session's memory is unmapped only when no device operation uses it.
//
// Everything runs on one locked thread, except a reader of the control
// connection, which only passes messages on. There are no locks.
//
// Trust: the supervisor is trusted. Clients' memory is checked by packages shm
// and ipc, clients' requests by the core.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/ipc/shm"
	"github.com/quintet-os/quintet/storage/server"
)

const (
	// inboxMax bounds the control messages read ahead.
	inboxMax = 64
	// orphanMax is how long a server without a supervisor waits for requests
	// before it ends.
	orphanMax = 30 * time.Second
)

// Process is one storage server process.
type Process struct {
	conn     *broker.Conn
	set      *ipc.Sessions
	core     *server.Core
	loop     *ipc.Loop
	status   broker.StatusWords
	total    server.Counters // already added to status
	volumes  map[int]*volume
	sessions map[uint64]*session
	active   bool
	gen      uint64
	pardon   bool // the last server was killed from outside
	stop     context.CancelFunc

	draining, final bool
	orphanedAt      time.Duration // by the loop's clock; 0 while there is a supervisor
	err             error
}

// Run serves until the supervisor drains the server, or has gone and nobody asks
// for anything any more. degraded is reported to the supervisor.
func Run(conn *broker.Conn, degraded []string) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	set := ipc.NewSessions()
	p := &Process{
		conn: conn, set: set, core: server.NewCore(set),
		volumes: make(map[int]*volume), sessions: make(map[uint64]*session), stop: stop,
	}
	p.core.Failed = p.failed
	var err error
	if p.loop, err = ipc.NewLoop(ipc.LoopConfig{Core: p, Sessions: set, Beat: p.beat}); err != nil {
		return err
	}
	if err := conn.Send(0, &broker.Ready{Degraded: degraded}); err != nil {
		return err
	}
	inbox := make(chan broker.Message, inboxMax)
	go read(conn, inbox)
	for !p.active {
		m, ok := <-inbox
		if !ok || p.draining {
			return p.err // a standby without a supervisor has no purpose
		}
		p.handle(m)
		if p.err != nil {
			return p.err
		}
	}
	go func() {
		for m := range inbox {
			p.loop.Post(func() { p.handle(m) })
		}
		p.loop.Post(p.orphaned)
	}()
	if err := p.loop.Run(ctx); err != nil {
		return err
	}
	p.flush()
	return p.err
}

// read passes messages on until the supervisor has gone.
func read(conn *broker.Conn, inbox chan<- broker.Message) {
	defer close(inbox)
	for {
		m, err := conn.Receive()
		if err != nil {
			return
		}
		inbox <- m
	}
}

// Step implements ipc.Core.
func (p *Process) Step(now time.Duration) bool {
	worked := p.core.Step(now)
	if p.draining && p.core.Drained() {
		p.drained()
	}
	return worked
}

// handle does what the supervisor says. An error ends the process.
func (p *Process) handle(m broker.Message) {
	var err error
	switch body := m.Body.(type) {
	case *broker.Status:
		if err = p.takeStatus(m.FDs[0]); err == nil {
			err = p.conn.Send(m.Ref, &broker.Done{})
		}
	case *broker.Volume:
		err = p.addVolume(body, m.FDs[0])
	case *broker.Session:
		err = p.addSession(body, m.FDs)
	case *broker.Region:
		if err = p.addRegion(body, m.FDs[0]); err == nil {
			err = p.conn.Send(m.Ref, &broker.Done{})
		}
	case *broker.Drop:
		p.drop(body.Session, m.Ref)
	case *broker.Activate:
		p.pardon = body.Pardon
		err = p.activate(body.Generation)
	case *broker.Drain:
		p.draining, p.final = true, body.Final
		p.core.Drain()
	default:
		m.CloseFDs()
		err = errors.New("the supervisor sent what it must not")
	}
	if err != nil && p.err == nil {
		p.err = err
		p.stop()
	}
}

func (p *Process) takeStatus(fd int) error {
	segment, err := shm.Open(fd, broker.StatusBytes, true)
	if err != nil {
		return err
	}
	if err := segment.CloseFD(); err != nil {
		return err
	}
	p.status, err = broker.ViewStatus(segment.Mem)
	return err
}

// activate takes the devices and all sessions over.
func (p *Process) activate(generation uint64) error {
	if err := p.fence(); err != nil {
		return err
	}
	p.active, p.gen = true, generation
	for _, s := range p.sessions {
		if p.pardon {
			s.ipc.Pardon()
		}
		if err := p.attach(s); err != nil {
			return err
		}
	}
	return p.conn.Send(0, &broker.Active{Generation: generation})
}

// fence waits for the last I/O of the dead server on each device. That may take
// as long as the device pleases, so the heart is kept beating meanwhile.
func (p *Process) fence() error {
	fenced := make(chan struct{})
	defer close(fenced)
	status := p.status
	go func() {
		tick := time.NewTicker(ipc.BeatInterval)
		defer tick.Stop()
		for {
			status.Beat()
			select {
			case <-tick.C:
			case <-fenced:
				return
			}
		}
	}()
	for _, v := range p.volumes {
		if v.file == nil {
			continue
		}
		if err := v.file.Fence(); err != nil {
			return fmt.Errorf("volume %s: %w", v.name, err)
		}
	}
	return nil
}

// beat is called by the loop: it shows that the server lives, and what it has
// done since the last time.
func (p *Process) beat(now time.Duration) {
	p.flush()
	p.status.Beat()
	if p.orphanedAt == 0 {
		return
	}
	if now-p.orphanedAt > orphanMax || p.allClosed() {
		p.stop()
	}
}

// flush adds what the core has counted since the last call to the status.
func (p *Process) flush() {
	total := p.core.Total()
	p.status.Add(broker.CountRequests, total.Requests-p.total.Requests)
	p.status.Add(broker.CountReplayed, total.Replayed-p.total.Replayed)
	p.status.Add(broker.CountRead, total.BytesRead-p.total.BytesRead)
	p.status.Add(broker.CountWritten, total.BytesWritten-p.total.BytesWritten)
	p.status.Add(broker.CountErrors, total.Errors-p.total.Errors)
	if p.orphanedAt != 0 && total.Requests != p.total.Requests {
		p.orphanedAt = p.loop.Now()
	}
	p.total = total
}

// orphaned is called when the supervisor has gone: whoever has a session keeps
// it as long as he uses it.
func (p *Process) orphaned() { p.orphanedAt = p.loop.Now() }

func (p *Process) allClosed() bool {
	open := false
	p.set.All(func(s *ipc.Session) { open = open || s.Err() == nil && !s.ClientClosed() })
	return !open
}

// drained ends the process once nothing is left to do. Without a successor the
// sessions end too.
func (p *Process) drained() {
	if p.final {
		for _, s := range p.sessions {
			s.ipc.Fail(ipc.ReasonShutdown, "")
			s.ipc.WakeClient()
		}
	}
	p.stop()
}

// failed reports a session whose client broke the protocol.
func (p *Process) failed(s *ipc.Session, reason error) {
	err := p.conn.Send(0, &broker.SessionFailed{Session: s.ID, Reason: reason.Error()})
	if err != nil && !errors.Is(err, io.ErrClosedPipe) && p.orphanedAt == 0 {
		p.orphaned()
	}
}

// closeAll closes descriptors and returns err, for the ways out of a function
// that has taken them over.
func closeAll(err error, fds ...int) error {
	unix.CloseAll(fds)
	return err
}
