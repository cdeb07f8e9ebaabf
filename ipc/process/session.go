package process

import (
	"errors"

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

// addSession maps a session's segments. A failure is reported to the supervisor
// as the session's, since its client made one of the segments.
func (p *Process) addSession(body *broker.Session, fds []int) error {
	if p.sessions[body.ID] != nil {
		unix.CloseAll(fds)
		return errors.New("the supervisor passed a session twice")
	}
	s := &Session{Body: body, doorbell: fds[2]}
	if err := s.open(fds[0], fds[1]); err != nil {
		s.close()
		return p.conn.Send(0, &broker.SessionFailed{Session: body.ID, Reason: err.Error()})
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
	return p.loop.Add(s.IPC)
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
		return p.conn.Send(0, &broker.SessionFailed{Session: body.Session, Reason: err.Error()})
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

func (s *Session) close() {
	for _, m := range s.mapped {
		_ = m.Close()
	}
	s.mapped = nil
	unix.CloseAll([]int{s.doorbell})
}
