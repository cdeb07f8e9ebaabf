// Package process is the network server as a service of package ipc/process: each
// session is a port of network/server's switch.
//
// Invariants:
//   - At a takeover all ports are added before the first step, so the addresses of
//     all of them are known before anything is forwarded.
//   - What a port has counted is in the supervisor's table within countInterval, so
//     a death loses no more than that.
//
// Everything runs on the loop's thread. There are no locks.
package process

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/ipc/process"
	"github.com/quintet-os/quintet/ipc/shm"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/server"
)

// countInterval is the time between two updates of the table of counters, and
// between two writes of captured frames.
const countInterval = 20 * time.Millisecond

// service is the network server's part of a process.
type service struct {
	*server.Core
	process   *process.Process
	ports     map[*process.Session]*port
	table     network.CounterTable
	captures  map[*process.Session]*capture
	epoch     time.Time     // of the loop's clock
	countedAt time.Duration // by the loop's clock
	total     uint64        // already added to the status
	tabled    uint64        // total when the table was updated last
}

// port is a session as a port.
type port struct {
	network.PortConfig
	counted network.Counters // already added to the table
}

// Run switches frames until the supervisor drains the server, or has gone.
// ready is what the supervisor is told of it.
func Run(conn *broker.Conn, ready broker.Ready) error {
	return process.Run(conn, ready, func(p *process.Process, set *ipc.Sessions) process.Service {
		s := &service{Core: server.NewCore(set), process: p, ports: map[*process.Session]*port{},
			captures: map[*process.Session]*capture{}, countedAt: -countInterval}
		s.Core.Failed = p.SessionFailed
		return s
	})
}

// Take implements process.Service.
func (s *service) Take(m *broker.Message) (taken bool, err error) {
	switch body := m.Body.(type) {
	case *broker.Counters:
		return true, s.takeTables(int(body.Bytes), m.FDs[0])
	case *broker.Capture:
		return true, s.capture(body, m.FDs[0])
	}
	return false, nil
}

// takeTables takes the memory that is kept over deaths. That of a supervisor of an
// earlier version has no table of connections.
func (s *service) takeTables(size, fd int) error {
	segment, err := shm.Open(fd, size, true)
	if err != nil {
		return err
	}
	if err := segment.CloseFD(); err != nil {
		return err
	}
	if s.table, err = network.ViewCounters(segment.Mem); err != nil || size < network.KeptBytes {
		return err
	}
	connections, err := server.ViewConnections(segment.Mem[network.CountersBytes:])
	if err == nil {
		s.Keep(connections)
	}
	return err
}

// Prepare implements process.Service.
func (s *service) Prepare(of *process.Session) error {
	p := &port{}
	if err := json.Unmarshal(of.Body.Terms, &p.PortConfig); err != nil {
		return fmt.Errorf("terms of session %d: %w", of.Body.ID, err)
	}
	s.ports[of] = p
	if s.process.Active() {
		return s.process.Attach(of)
	}
	return nil
}

// Activate implements process.Service: there is no device that a predecessor could
// still be using.
func (s *service) Activate() {
	s.epoch = time.Now().Add(-s.process.Loop().Now())
	s.process.Fenced()
	for of := range s.ports {
		if err := s.process.Attach(of); err != nil {
			s.process.Fail(err)
			return
		}
	}
	s.Inherit()
	s.process.Recovered()
}

// Serve implements process.Service. A port that the switch refuses is a mistake of
// the supervisor's, and costs nobody else anything.
func (s *service) Serve(of *process.Session) error {
	if err := s.Add(of.IPC, s.ports[of].PortConfig); err != nil {
		of.IPC.Fail(ipc.ReasonRevoked, err.Error())
		of.IPC.WakeClient()
		s.process.SessionFailed(of.IPC, err)
	}
	return nil
}

// Settled implements process.Service: frames are forwarded in the first steps, and
// nobody waits for an answer.
func (s *service) Settled() bool { return true }

// Remove implements process.Service.
func (s *service) Remove(of *process.Session, done func()) {
	s.endCapture(of)
	s.count(of)
	s.Core.Remove(of.IPC)
	delete(s.ports, of)
	done()
}

// Drained implements process.Service: what has not been forwarded waits in the rings.
func (s *service) Drained() bool { return true }

// Drain implements process.Service. The last Count is not to wait for its turn.
func (s *service) Drain() {
	s.Core.Drain()
	s.countedAt = -countInterval
}

// Deadline implements ipc.Timed: what has been counted is due in the table, even if
// nothing more happens.
func (s *service) Deadline() (at time.Duration, ok bool) {
	at, ok = s.Core.Deadline()
	if due := s.countedAt + countInterval; s.total != s.tabled && (!ok || due < at) {
		return due, true
	}
	return at, ok
}

// Count implements process.Service.
func (s *service) Count(now time.Duration, status broker.StatusWords) {
	status.Add(broker.CountRequests, s.Total()-s.total)
	s.total = s.Total()
	if now-s.countedAt < countInterval {
		return
	}
	s.countedAt, s.tabled = now, s.total
	for of := range s.ports {
		s.count(of)
	}
	for of := range s.captures {
		s.write(of)
	}
}

func (s *service) count(of *process.Session) {
	now, ok := s.Core.Counters(of.IPC)
	if !ok {
		return // a standby's
	}
	p := s.ports[of]
	s.table.Add(p.Row, p.counted, now)
	p.counted = now
}
