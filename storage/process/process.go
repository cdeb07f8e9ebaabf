// Package process is the storage server as a service of package ipc/process: it
// receives volumes, fences them at a takeover, and drives storage/server's core.
//
// Invariant: a process touches a device only after Activate, and the sessions of a
// volume only after it holds the lock of its device (see package storage/device on
// the fence).
//
// Everything runs on the loop's thread, except those who wait for fences, which
// only pass a message on. There are no locks.
package process

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/ipc/process"
	"github.com/quintet-os/quintet/storage"
	"github.com/quintet-os/quintet/storage/server"
)

// fencesMax bounds the fences waited for at a time: each takes a thread.
const fencesMax = 16

// service is the storage server's part of a process.
type service struct {
	*server.Core
	process   *process.Process
	volumes   map[int]*volume
	sessions  map[*process.Session]*session
	fencing   int             // volumes that wait for their fence
	workers   chan struct{}   // of fencesMax
	recovered bool            // Recovered has been said
	counted   server.Counters // already added to the status
}

// session is a session with what it may do.
type session struct {
	storage.Terms
	volume *volume
}

// Run serves volumes until the supervisor drains the server, or has gone.
// ready is what the supervisor is told of it.
func Run(conn *broker.Conn, ready broker.Ready) error {
	return process.Run(conn, ready, func(p *process.Process, set *ipc.Sessions) process.Service {
		s := &service{Core: server.NewCore(set), process: p, workers: make(chan struct{}, fencesMax), volumes: map[int]*volume{}, sessions: map[*process.Session]*session{}}
		s.Core.Failed, s.Core.Pinned = p.SessionFailed, s.pinned
		return s
	})
}

// Take implements process.Service.
func (s *service) Take(m *broker.Message) (taken bool, err error) {
	switch body := m.Body.(type) {
	case *broker.Volume:
		return true, s.addVolume(body, m.FDs[0])
	case *broker.Pin:
		s.pin(body)
		return true, nil
	}
	return false, nil
}

// Prepare implements process.Service.
func (s *service) Prepare(of *process.Session) error {
	each := &session{}
	if err := json.Unmarshal(of.Body.Terms, &each.Terms); err != nil {
		return fmt.Errorf("terms of session %d: %w", of.Body.ID, err)
	}
	each.volume = s.volume(each.Volume)
	s.sessions[of] = each
	if each.volume.served == nil {
		return nil // it waits for the device
	}
	s.PrepareSession(of.IPC, each.grants(), each.Limits)
	if each.volume.fenced {
		return s.process.Attach(of)
	}
	return nil
}

func (s *session) grants() []server.Grant {
	return []server.Grant{{Volume: s.volume.served, ReadOnly: s.ReadOnly}}
}

// Serve implements process.Service. The volume is fenced.
func (s *service) Serve(of *process.Session) error {
	each := s.sessions[of]
	s.AddSession(of.IPC, each.grants(), each.Limits)
	return nil
}

// Activate takes over the devices, and the sessions of each as soon as it is
// fenced: a slow device keeps only its own clients waiting.
func (s *service) Activate() {
	s.fencing = 1 // until all have begun
	for _, v := range s.volumes {
		if v.served != nil {
			s.fence(v)
		}
	}
	s.fencedOne()
}

// fence waits for what a dead server's device I/O may still do, and then serves the
// volume.
func (s *service) fence(v *volume) {
	s.fencing++
	if v.file == nil {
		s.fenced(v, nil)
		return
	}
	if granted, err := v.file.TryFence(); granted || err != nil {
		s.fenced(v, err)
		return
	}
	go func() {
		s.workers <- struct{}{}
		err := v.file.Fence()
		<-s.workers
		s.process.Loop().Post(func() { s.fenced(v, err) })
	}()
}

// fencedOne counts a volume that waits no more. The takeover is over when none does:
// volumes without a device are not waited for.
func (s *service) fencedOne() {
	if s.fencing--; s.fencing == 0 && !s.recovered {
		s.recovered = true
		s.process.Recovered()
	}
}

// fenced serves a volume: no I/O of the dead server is in flight any more.
func (s *service) fenced(v *volume, err error) {
	if err != nil {
		s.process.Fail(fmt.Errorf("volume %s: %w", v.name, err))
		return
	}
	s.process.Fenced()
	v.fenced = true
	for of, each := range s.sessions {
		if each.volume != v {
			continue
		}
		if err := s.process.Attach(of); err != nil {
			s.process.Fail(err)
			return
		}
	}
	late := v.late
	v.late = nil
	for _, do := range late {
		do()
	}
	s.fencedOne()
}

// Settled implements process.Service.
func (s *service) Settled() bool { return s.Core.Drained() }

// Remove implements process.Service.
func (s *service) Remove(of *process.Session, done func()) {
	v := s.sessions[of].volume
	delete(s.sessions, of)
	if s.process.Active() && !v.fenced {
		// A dead server's I/O may still be using the memory.
		v.late = append(v.late, func() { s.RemoveSession(of.IPC, done) })
		return
	}
	s.RemoveSession(of.IPC, done)
}

// Count implements process.Service.
func (s *service) Count(_ time.Duration, status broker.StatusWords) {
	total := s.Total()
	status.Add(broker.CountRequests, total.Requests-s.counted.Requests)
	status.Add(broker.CountReplayed, total.Replayed-s.counted.Replayed)
	status.Add(broker.CountRead, total.BytesRead-s.counted.BytesRead)
	status.Add(broker.CountWritten, total.BytesWritten-s.counted.BytesWritten)
	status.Add(broker.CountErrors, total.Errors-s.counted.Errors)
	s.counted = total
}

// pin prepares a standby. A server that takes over has no time for it.
func (s *service) pin(body *broker.Pin) {
	if of := s.process.Session(body.Session); of != nil && !s.process.Active() {
		s.PinPiece(of.IPC, body.Region, body.Piece)
	}
}

// pinned reports a piece of a region that standbys are to pin too.
func (s *service) pinned(of *ipc.Session, region, piece int) {
	s.process.Report(&broker.Pinned{Session: of.ID, Region: region, Piece: piece})
}
