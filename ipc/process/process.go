package process

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/ipc/shm"
)

const (
	// inboxMax bounds the control messages read ahead.
	inboxMax = 16
	// tellMax is how long a takeover may take to answer what was in flight.
	tellMax = 5 * time.Millisecond
)

// Process is one server process.
type Process struct {
	conn     *broker.Conn
	set      *ipc.Sessions
	service  Service
	timed    ipc.Timed // service, if it is; or nil
	loop     *ipc.Loop
	status   broker.StatusWords
	sessions map[uint64]*Session
	active   bool
	pardon   bool          // the last server was killed from outside
	takeover broker.Active // of this process, as far as it has come

	late       []func()      // wait for recovered
	recovered  bool          // the service has taken everything over
	attachedAt time.Duration // by the loop's clock, when it had
	told       bool          // the supervisor knows of the takeover
	stop       context.CancelFunc

	draining, final bool
	err             error
}

// Run serves until the supervisor drains the server, or has gone and nobody asks
// for anything any more. serve makes the service, which serves the sessions of the
// given set. ready is what the supervisor is told of it.
func Run(conn *broker.Conn, ready broker.Ready, serve func(*Process, *ipc.Sessions) Service) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	p := &Process{conn: conn, set: ipc.NewSessions(), sessions: map[uint64]*Session{}, stop: stop}
	p.service = serve(p, p.set)
	p.timed, _ = p.service.(ipc.Timed)
	var err error
	if p.loop, err = ipc.NewLoop(ipc.LoopConfig{Core: p, Sessions: p.set, Beat: p.beat}); err != nil {
		return err
	}
	ready.Layout = ipc.Layout
	if err := conn.Send(0, &ready); err != nil {
		return err
	}
	if err := p.standBy(); err != nil || !p.active {
		return err
	}
	go p.read(make(chan incoming, inboxMax))
	if err := p.loop.Run(ctx); err != nil {
		return err
	}
	p.service.Count(p.loop.Now(), p.status)
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
		if err != nil && !errors.Is(err, broker.ErrNoRoom) || p.draining {
			return nil // a standby without a supervisor has no purpose
		}
		p.handle(incoming{m, err})
	}
	return p.err
}

// incoming is a message of the supervisor's, or, with broker.ErrNoRoom, what is left of
// one whose descriptors this process had no room for.
type incoming struct {
	broker.Message
	err error
}

// read passes messages on until the supervisor has gone. It is never more than the
// inbox ahead of the loop, whatever that is busy with: what waits are descriptors.
func (p *Process) read(inbox chan incoming) {
	for {
		m, err := p.conn.Receive()
		if err != nil && !errors.Is(err, broker.ErrNoRoom) {
			break
		}
		inbox <- incoming{m, err}
		p.loop.Post(func() { p.handle(<-inbox) })
	}
	p.loop.Post(p.stop) // the supervisor has gone, and with it whoever would replace this process
}

// Step implements ipc.Core.
func (p *Process) Step(now time.Duration) bool {
	worked := p.service.Step(now)
	if p.draining && p.service.Drained() {
		p.drained()
	}
	return worked
}

// Deadline implements ipc.Timed.
func (p *Process) Deadline() (at time.Duration, ok bool) {
	if p.timed == nil {
		return 0, false
	}
	return p.timed.Deadline()
}

// handle does what the supervisor says. An error ends the process.
func (p *Process) handle(m incoming) {
	if m.err != nil {
		if err := p.without(m.Body, m.Ref, m.err); err != nil {
			p.Fail(err)
		}
		return
	}
	var err error
	switch body := m.Body.(type) {
	case *broker.Status:
		if err = p.takeStatus(m.FDs[0]); err == nil {
			err = p.conn.Send(m.Ref, &broker.Done{})
		}
	case *broker.Session:
		err = p.addSession(body, m.FDs)
	case *broker.Region:
		if err = p.addRegion(body, m.FDs[0]); err == nil {
			err = p.conn.Send(m.Ref, &broker.Done{})
		}
	case *broker.Drop:
		p.drop(body.Session, m.Ref)
	case *broker.Activate:
		p.pardon, p.active = body.Pardon, true
		p.takeover = broker.Active{Generation: body.Generation, ReceivedNs: time.Now().UnixNano()}
		p.service.Activate()
	case *broker.Drain:
		p.draining, p.final = true, body.Final
		p.service.Drain()
	default:
		var taken bool
		if taken, err = p.service.Take(&m.Message); !taken && err == nil {
			m.CloseFDs()
			err = errors.New("the supervisor sent what it must not")
		}
	}
	if err != nil {
		p.Fail(err)
	}
}

// without does as well as it can without the descriptors of a message. A process that
// serves goes on; one that is new ends by name, since it could not take over.
func (p *Process) without(body broker.Body, ref uint64, reason error) error {
	switch body := body.(type) {
	case *broker.Session:
		return p.notMapped(body.ID, reason)
	case *broker.Region:
		if err := p.notMapped(body.Session, reason); err != nil {
			return err
		}
		return p.conn.Send(ref, &broker.Done{})
	case *broker.Volume:
		return p.conn.Send(0, &broker.VolumeFailed{Handle: body.Handle, Reason: fmt.Sprintf("volume %s: %v", body.Name, reason)})
	case *broker.Capture:
		return p.conn.Send(0, &broker.Captured{Session: body.Session, Number: body.Number})
	}
	return reason
}

// Fail ends the process with an error.
func (p *Process) Fail(err error) {
	if p.err == nil {
		p.err = err
		p.stop()
	}
}

// Active tells whether this process serves, rather than standing by.
func (p *Process) Active() bool { return p.active }

// Session returns a session this process has mapped, or nil.
func (p *Process) Session(id uint64) *Session { return p.sessions[id] }

// Loop is the loop that steps the service.
func (p *Process) Loop() *ipc.Loop { return p.loop }

// Fenced notes that a predecessor's device I/O has come to its end, for the log.
func (p *Process) Fenced() { p.takeover.FencedNs = time.Now().UnixNano() }

// Recovered says that the service has attached all sessions there were.
func (p *Process) Recovered() {
	p.recovered = true
	p.takeover.AttachedNs, p.attachedAt = time.Now().UnixNano(), p.loop.Now()
	late := p.late
	p.late = nil
	for _, do := range late {
		do()
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

// tell reports the takeover once what the dead server left in flight has been
// answered, or has had tellMax: the supervisor then starts the next standby, and
// those who wait for replies come first.
func (p *Process) tell(now time.Duration) {
	if p.told || !p.recovered || now-p.attachedAt < tellMax && !p.service.Settled() {
		return
	}
	p.told = true
	p.takeover.AnsweredNs = time.Now().UnixNano()
	p.Report(&p.takeover)
}

// beat is called by the loop: it shows that the server lives, and what it has
// done since the last time.
func (p *Process) beat(now time.Duration) {
	p.tell(now)
	p.service.Count(now, p.status)
	p.status.Beat()
}

// drained ends the process once nothing is left to do. Without a successor the
// sessions end too.
func (p *Process) drained() {
	if p.final {
		for _, s := range p.sessions {
			if !s.attached {
				continue // the supervisor ends it
			}
			s.IPC.Fail(ipc.ReasonShutdown, "")
			s.IPC.WakeClient()
		}
	}
	p.stop()
}

// SessionFailed reports a session whose client broke the protocol.
func (p *Process) SessionFailed(s *ipc.Session, reason error) {
	p.Report(&broker.SessionFailed{Session: s.ID, Reason: reason.Error()})
}

// Report tells the supervisor something. One that has gone is noticed elsewhere.
func (p *Process) Report(body broker.Body) { _ = p.conn.Send(0, body) }
