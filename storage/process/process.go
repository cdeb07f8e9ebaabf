// Package process runs the storage server's core as a process of its own: it
// receives volumes and sessions from the supervisor, waits as a warm standby,
// takes over when told to, and drives the core with package ipc's loop.
//
// Invariants:
//   - A standby maps everything and writes nothing that is shared. It touches
//     devices only after Activate, and the sessions of a volume only after it holds
//     the lock of its device (see package storage/device on the fence).
//   - A session's memory is unmapped only when no device operation uses it.
//
// Everything runs on one locked thread, except a reader of the control
// connection and those who wait for fences, which only pass messages on. There
// are no locks.
//
// Trust: the supervisor is trusted. Clients' memory is checked by packages shm
// and ipc, clients' requests by the core.
package process

import (
	"context"
	"errors"
	"fmt"
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
	// fencesMax bounds the fences waited for at a time: each takes a thread.
	fencesMax = 16
	// tellMax is how long a takeover may take to answer what was in flight.
	tellMax = 5 * time.Millisecond
)

// Process is one storage server process.
type Process struct {
	conn       *broker.Conn
	set        *ipc.Sessions
	core       *server.Core
	loop       *ipc.Loop
	status     broker.StatusWords
	total      server.Counters // already added to status
	volumes    map[int]*volume
	sessions   map[uint64]*session
	active     bool
	pardon     bool          // the last server was killed from outside
	takeover   broker.Active // of this process, as far as it has come
	fencing    int           // volumes that wait for their fence
	attachedAt time.Duration // by the loop's clock, when the last had got it
	told       bool          // the supervisor knows of the takeover
	stop       context.CancelFunc

	draining, final bool
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
	p.core.Failed, p.core.Pinned = p.failed, p.pinned
	var err error
	if p.loop, err = ipc.NewLoop(ipc.LoopConfig{Core: p, Sessions: set, Beat: p.beat}); err != nil {
		return err
	}
	if err := conn.Send(0, &broker.Ready{Degraded: degraded}); err != nil {
		return err
	}
	if err := p.standBy(); err != nil || !p.active {
		return err
	}
	inbox := make(chan broker.Message, inboxMax)
	go read(conn, inbox)
	go func() {
		for m := range inbox {
			p.loop.Post(func() { p.handle(m) })
		}
		p.loop.Post(p.stop) // the supervisor has gone, and with it whoever would replace this process
	}()
	if err := p.loop.Run(ctx); err != nil {
		return err
	}
	p.flush()
	return p.err
}

// standBy takes what the supervisor hands over, until it says Activate. It waits
// in the kernel, not in the netpoller: the way from there to a locked thread
// takes two more wake-ups.
func (p *Process) standBy() error {
	for !p.active && p.err == nil {
		if err := p.conn.WaitReadable(); err != nil {
			return err
		}
		m, err := p.conn.Receive()
		if err != nil || p.draining {
			return nil // a standby without a supervisor has no purpose
		}
		p.handle(m)
	}
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
	case *broker.Pin:
		p.pin(body)
	case *broker.Drop:
		p.drop(body.Session, m.Ref)
	case *broker.Activate:
		p.pardon = body.Pardon
		p.activate(body.Generation)
	case *broker.Drain:
		p.draining, p.final = true, body.Final
		p.core.Drain()
	default:
		m.CloseFDs()
		err = errors.New("the supervisor sent what it must not")
	}
	if err != nil {
		p.fail(err)
	}
}

// fail ends the process with an error.
func (p *Process) fail(err error) {
	if p.err == nil {
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

// activate takes over the devices, and the sessions of each as soon as it is
// fenced: a slow device keeps only its own clients waiting.
func (p *Process) activate(generation uint64) {
	p.active = true
	p.takeover = broker.Active{Generation: generation, ReceivedNs: time.Now().UnixNano()}
	p.fencing = len(p.volumes)
	workers := make(chan struct{}, fencesMax)
	for _, v := range p.volumes {
		if v.file == nil {
			p.fenced(v, nil)
			continue
		}
		if granted, err := v.file.TryFence(); granted || err != nil {
			p.fenced(v, err)
			continue
		}
		go func() {
			workers <- struct{}{}
			err := v.file.Fence()
			<-workers
			p.loop.Post(func() { p.fenced(v, err) })
		}()
	}
}

// fenced serves a volume: no I/O of the dead server is in flight any more.
func (p *Process) fenced(v *volume, err error) {
	if err != nil {
		p.fail(fmt.Errorf("volume %s: %w", v.name, err))
		return
	}
	p.takeover.FencedNs = time.Now().UnixNano()
	v.fenced = true
	for _, s := range p.sessions {
		if s.volume != v {
			continue
		}
		if p.pardon {
			s.ipc.Pardon()
		}
		if err := p.attach(s); err != nil {
			p.fail(err)
			return
		}
	}
	late := v.late
	v.late = nil
	for _, do := range late {
		do()
	}
	p.fencing--
	p.takeover.AttachedNs, p.attachedAt = time.Now().UnixNano(), p.loop.Now()
}

// tell reports the takeover once what the dead server left in flight has been
// answered, or has had tellMax: the supervisor then starts the next standby, and
// those who wait for replies come first.
func (p *Process) tell(now time.Duration) {
	if p.told || p.fencing > 0 || now-p.attachedAt < tellMax && !p.core.Drained() {
		return
	}
	p.told = true
	p.takeover.AnsweredNs = time.Now().UnixNano()
	p.report(&p.takeover)
}

// beat is called by the loop: it shows that the server lives, and what it has
// done since the last time.
func (p *Process) beat(now time.Duration) {
	p.tell(now)
	p.flush()
	p.status.Beat()
}

// flush adds what the core has counted since the last call to the status.
func (p *Process) flush() {
	total := p.core.Total()
	p.status.Add(broker.CountRequests, total.Requests-p.total.Requests)
	p.status.Add(broker.CountReplayed, total.Replayed-p.total.Replayed)
	p.status.Add(broker.CountRead, total.BytesRead-p.total.BytesRead)
	p.status.Add(broker.CountWritten, total.BytesWritten-p.total.BytesWritten)
	p.status.Add(broker.CountErrors, total.Errors-p.total.Errors)
	p.total = total
}

// drained ends the process once nothing is left to do. Without a successor the
// sessions end too.
func (p *Process) drained() {
	if p.final {
		for _, s := range p.sessions {
			if !s.attached {
				continue // the supervisor ends it
			}
			s.ipc.Fail(ipc.ReasonShutdown, "")
			s.ipc.WakeClient()
		}
	}
	p.stop()
}

// failed reports a session whose client broke the protocol.
func (p *Process) failed(s *ipc.Session, reason error) {
	p.report(&broker.SessionFailed{Session: s.ID, Reason: reason.Error()})
}

// pinned reports a region that standbys are to pin too.
func (p *Process) pinned(s *ipc.Session, region int) {
	p.report(&broker.Pinned{Session: s.ID, Region: region})
}

// report tells the supervisor something. One that has gone is noticed by read.
func (p *Process) report(body broker.Body) { _ = p.conn.Send(0, body) }

// closeAll closes descriptors and returns err, for the ways out of a function
// that has taken them over.
func closeAll(err error, fds ...int) error {
	unix.CloseAll(fds)
	return err
}
