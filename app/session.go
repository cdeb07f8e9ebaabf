package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/ipc/shm"
)

// session is a session of this application with a server.
type session struct {
	app *App
	id  uint64
	ipc *ipc.Client
}

// open asks for the session and stores the terms of it in terms.
func (s *session) open(ctx context.Context, c *broker.Connect, terms any) error {
	g := c.Geometry
	if err := g.Check(); err != nil {
		return err
	}
	mine, err := shm.Create("quintet-client", g.ClientBytes(), shm.OneWriter)
	if err != nil {
		return err
	}
	owned := segments{mine}
	defer func() { owned.close() }()
	if err := ipc.FormatClient(mine.Mem, g); err != nil {
		return err
	}
	m, err := s.app.broker.Ask(ctx, c, mine.FD)
	if err != nil {
		return err
	}
	connected, ok := m.Body.(*broker.Connected)
	if !ok {
		m.CloseFDs()
		return fmt.Errorf("%w: not an answer to connect", broker.ErrMalformed)
	}
	s.id = connected.Session
	entered := false
	defer func() {
		if !entered {
			s.app.broker.EndSession(s.id)
		}
	}()
	bell := m.FDs[1]
	theirs, err := shm.Open(m.FDs[0], g.ServerBytes(), false)
	if err != nil {
		return errors.Join(err, unix.Close(bell))
	}
	mapped := append(owned, theirs)
	owned = nil
	s.ipc, err = ipc.NewClient(ipc.ClientConfig{
		Geometry: g, Client: mine.Mem, Server: theirs.Mem, Doorbell: bell,
		Unmap: func() { mapped.close(); _ = unix.Close(bell) },
	})
	if err != nil {
		mapped.close()
		return errors.Join(err, unix.Close(bell))
	}
	s.app.enter(s)
	entered = true
	mapped.closeFDs()
	if err := json.Unmarshal(connected.Terms, terms); err != nil {
		return fmt.Errorf("%w: terms of a session: %v", broker.ErrMalformed, err)
	}
	return nil
}

// grant makes a region of so many bytes. It is unmapped when owner, whose memory it
// is to be, can no longer be reached, which may be some time after the end of the
// session.
func grant[T any](ctx context.Context, s *session, region, bytes int, owner func(mem []byte) *T) (*T, error) {
	memory, err := shm.Create("quintet-buffers", bytes, shm.Shared)
	if err != nil {
		return nil, err
	}
	m, err := s.app.broker.Ask(ctx, &broker.Grant{
		Session: s.id, Region: region, Bytes: int64(bytes), Writable: true, Delegable: true,
	}, memory.FD)
	if err != nil {
		return nil, errors.Join(err, memory.Close())
	}
	m.CloseFDs()
	owned := owner(memory.Mem)
	runtime.AddCleanup(owned, func(s *shm.Segment) { _ = s.Close() }, memory)
	return owned, memory.CloseFD()
}

// end ends the session and waits until the server has let go of its memory.
func (s *session) end() error {
	if s.ipc == nil {
		return nil // open has ended what there was of it
	}
	s.app.mu.Lock()
	_, open := s.app.sessions[s.id]
	delete(s.app.sessions, s.id)
	s.app.mu.Unlock()
	if !open {
		return nil // it has been ended already
	}
	err := s.ipc.Close()
	m, askErr := s.app.broker.Ask(context.Background(), &broker.Close{Session: s.id})
	m.CloseFDs()
	if errors.Is(askErr, broker.ErrDisconnected) {
		askErr = nil // the session ends with the application
	}
	return errors.Join(err, askErr)
}

// enter lists a session, so that the system can end it.
func (a *App) enter(s *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessions[s.id] = s
	if a.lost {
		s.ipc.Fail(ipc.ReasonRevoked, broker.ErrDisconnected.Error())
	}
	if reason, ended := a.early[s.id]; ended {
		delete(a.early, s.id)
		s.ipc.Fail(ipc.ReasonRevoked, reason)
	}
}

type segments []*shm.Segment

func (s segments) close() {
	for _, each := range s {
		_ = each.Close()
	}
}

func (s segments) closeFDs() {
	for _, each := range s {
		_ = each.CloseFD()
	}
}
