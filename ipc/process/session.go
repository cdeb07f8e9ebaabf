package process

import (
	"errors"
	"fmt"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/ipc/shm"
)

// Session is a session this process has mapped, whether it serves it or not.
type Session struct {
	Body     *broker.Session
	IPC      *ipc.Session
	doorbell int
	mapped   []*shm.Segment
	attached bool
}

// addSession maps a session's segments. A failure ends a standby, which is replaced:
// the supervisor has checked what the client made, so what fails is this process, and
// the process that serves the session may well have it. While serving it is the
// session that ends.
func (p *Process) addSession(body *broker.Session, fds []int) error {
	if p.sessions[body.ID] != nil {
		unix.CloseAll(fds)
		return errors.New("the supervisor passed a session twice")
	}
	s := &Session{Body: body, doorbell: fds[2]}
	if err := s.open(fds[0], fds[1]); err != nil {
		s.close()
		return p.notMapped(body.ID, err)
	}
	p.sessions[body.ID] = s
	return p.service.Prepare(s)
}

func (s *Session) open(clientFD, serverFD int) error {
	client, err := shm.Open(clientFD, s.Body.Geometry.ClientBytes(), false)
	if err != nil {
		unix.CloseAll([]int{serverFD})
		return err
	}
	s.mapped = append(s.mapped, client)
	segment, err := shm.Open(serverFD, s.Body.Geometry.ServerBytes(), true)
	if err != nil {
		return err
	}
	s.mapped = append(s.mapped, segment)
	if err := errors.Join(client.CloseFD(), segment.CloseFD()); err != nil {
		return err
	}
	s.IPC, err = ipc.NewSession(ipc.SessionConfig{
		ID: s.Body.ID, Geometry: s.Body.Geometry,
		Client: client.Mem, Server: segment.Mem, Doorbell: s.doorbell,
	})
	return err
}

func (p *Process) notMapped(session uint64, err error) error {
	if !p.active {
		return fmt.Errorf("session %d: %w", session, err)
	}
	return p.conn.Send(0, &broker.SessionFailed{Session: session, Reason: err.Error()})
}

// Attach takes a session over and serves it. The service calls it when nobody
// else writes to the session's memory any more.
func (p *Process) Attach(s *Session) error {
	s.attached = true
	if p.pardon {
		s.IPC.Pardon()
	}
	s.IPC.Attach(p.takeover.Generation)
	if err := p.service.Serve(s); err != nil {
		return err
	}
	if err := p.loop.Add(s.IPC); err != nil {
		// The kernel can watch no more doorbells: nobody else's fault or loss.
		s.IPC.Fail(ipc.ReasonRevoked, err.Error())
		s.IPC.WakeClient()
		p.SessionFailed(s.IPC, err)
	}
	return nil
}

// addRegion maps granted memory.
func (p *Process) addRegion(body *broker.Region, fd int) error {
	s := p.sessions[body.Session]
	if s == nil {
		unix.CloseAll([]int{fd})
		return nil // its session could not be mapped, which has been reported
	}
	segment, err := shm.Open(fd, int(body.Bytes), body.Writable)
	if err != nil {
		return p.notMapped(body.Session, err)
	}
	s.mapped = append(s.mapped, segment)
	s.IPC.AddRegion(&ipc.Region{
		ID: body.Region, Mem: segment.Mem, Writable: body.Writable, Delegable: body.Delegable,
	})
	return segment.CloseFD()
}

// drop lets go of a session, when the service has, and then answers.
func (p *Process) drop(id, ref uint64) {
	s := p.sessions[id]
	delete(p.sessions, id)
	done := func() {
		if s != nil {
			s.close()
		}
		// A supervisor that has gone waits for nothing.
		_ = p.conn.Send(ref, &broker.Done{})
	}
	if s == nil {
		if p.active && !p.recovered {
			p.late = append(p.late, done) // a device may write to it for a predecessor
			return
		}
		done()
		return
	}
	if s.attached {
		if err := p.loop.Remove(s.IPC); err != nil {
			p.Fail(err)
			return
		}
	}
	p.service.Remove(s, done)
}

// close gives all memory back. The end of the session comes first, whoever still
// refers to it.
func (s *Session) close() {
	if s.IPC != nil {
		s.IPC.End()
	}
	for _, m := range s.mapped {
		_ = m.Close()
	}
	s.mapped = nil
	unix.CloseAll([]int{s.doorbell})
}
