package process

import (
	"errors"
	"fmt"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/ipc/shm"
	"github.com/quintet-os/quintet/storage"
	"github.com/quintet-os/quintet/storage/device"
	"github.com/quintet-os/quintet/storage/server"
)

// memoryDepth is the number of operations queued to a memory volume at a time.
const memoryDepth = 256

// volume is a device this process has received.
type volume struct {
	name   string
	file   *device.File // nil for memory
	served *server.Volume
	fenced bool     // no I/O of a dead server is in flight; sessions are served
	late   []func() // wait for fenced
}

// session is a session this process has mapped, whether it serves it or not.
type session struct {
	body     *broker.Session
	ipc      *ipc.Session
	volume   *volume
	doorbell int
	mapped   []*shm.Segment
	attached bool
}

// addVolume makes a device of an open description, on the thread that will use
// it. Its lock is taken later, by fence.
func (p *Process) addVolume(body *broker.Volume, fd int) error {
	v := &volume{name: body.Name}
	var d storage.Device
	if body.Memory {
		segment, err := shm.Open(fd, int(body.Bytes), !body.ReadOnly)
		if err != nil {
			return fmt.Errorf("volume %s: %w", v.name, err)
		}
		if err := segment.CloseFD(); err != nil {
			return err
		}
		if d, err = device.NewMemory(segment.Mem, body.BlockSize, memoryDepth); err != nil {
			return fmt.Errorf("volume %s: %w", v.name, err)
		}
	} else {
		var err error
		if v.file, err = device.NewFile(fd, device.Options{ReadOnly: body.ReadOnly, BlockSize: body.BlockSize, Size: body.Bytes}); err != nil {
			return fmt.Errorf("volume %s: %w", v.name, err)
		}
		d = v.file
	}
	if wakeup := d.Wakeup(); wakeup >= 0 {
		if err := p.loop.Watch(wakeup); err != nil {
			return err
		}
	}
	v.served = p.core.AddVolume(v.name, d)
	p.volumes[body.Handle] = v
	return nil
}

// addSession maps a session's segments. A failure is reported to the supervisor
// as the session's, since its client made one of the segments.
func (p *Process) addSession(body *broker.Session, fds []int) error {
	v := p.volumes[body.Volume]
	if v == nil || p.sessions[body.ID] != nil {
		return closeAll(fmt.Errorf("session %d is impossible here", body.ID), fds...)
	}
	s := &session{body: body, volume: v, doorbell: fds[2]}
	err := s.open(fds[0], fds[1])
	if err != nil {
		s.close()
		return p.conn.Send(0, &broker.SessionFailed{Session: body.ID, Reason: err.Error()})
	}
	p.sessions[body.ID] = s
	p.core.PrepareSession(s.ipc, s.grants(), s.limits())
	if v.fenced {
		return p.attach(s)
	}
	return nil
}

func (s *session) grants() []server.Grant {
	return []server.Grant{{Volume: s.volume.served, ReadOnly: s.body.ReadOnly}}
}

func (s *session) limits() server.Limits {
	return server.Limits{Requests: s.body.Limits.Requests, Bytes: s.body.Limits.Bytes}
}

func (s *session) open(clientFD, serverFD int) error {
	client, err := shm.Open(clientFD, s.body.Geometry.ClientBytes(), false)
	if err != nil {
		return closeAll(err, serverFD)
	}
	s.mapped = append(s.mapped, client)
	segment, err := shm.Open(serverFD, s.body.Geometry.ServerBytes(), true)
	if err != nil {
		return err
	}
	s.mapped = append(s.mapped, segment)
	if err := errors.Join(client.CloseFD(), segment.CloseFD()); err != nil {
		return err
	}
	s.ipc, err = ipc.NewSession(ipc.SessionConfig{
		ID: s.body.ID, Geometry: s.body.Geometry,
		Client: client.Mem, Server: segment.Mem, Doorbell: s.doorbell,
	})
	return err
}

// attach takes a session over and serves it. Its volume is fenced.
func (p *Process) attach(s *session) error {
	s.attached = true
	s.ipc.Attach(p.takeover.Generation)
	p.core.AddSession(s.ipc, s.grants(), s.limits())
	return p.loop.Add(s.ipc)
}

func (p *Process) addRegion(body *broker.Region, fd int) error {
	s := p.sessions[body.Session]
	if s == nil {
		return closeAll(nil, fd) // its session could not be mapped, which has been reported
	}
	segment, err := shm.Open(fd, int(body.Bytes), body.Writable)
	if err != nil {
		return p.conn.Send(0, &broker.SessionFailed{Session: body.Session, Reason: err.Error()})
	}
	s.mapped = append(s.mapped, segment)
	s.ipc.AddRegion(&ipc.Region{
		ID: body.Region, Mem: segment.Mem, Writable: body.Writable, Delegable: body.Delegable,
	})
	return segment.CloseFD()
}

// pin prepares a standby. A server that takes over has no time for it.
func (p *Process) pin(body *broker.Pin) {
	if s := p.sessions[body.Session]; s != nil && !p.active {
		p.core.PinRegion(s.ipc, body.Region)
	}
}

// drop lets go of a session, when the last device operation in its memory has
// ended, and then answers.
func (p *Process) drop(id, ref uint64) {
	s := p.sessions[id]
	if s != nil && p.active && !s.volume.fenced {
		// A dead server's I/O may still be using the memory.
		s.volume.late = append(s.volume.late, func() { p.drop(id, ref) })
		return
	}
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
		if err := p.loop.Remove(s.ipc); err != nil {
			p.fail(err)
			return
		}
	}
	p.core.RemoveSession(s.ipc, done)
}

func (s *session) close() {
	for _, m := range s.mapped {
		_ = m.Close()
	}
	s.mapped = nil
	unix.CloseAll([]int{s.doorbell})
}
