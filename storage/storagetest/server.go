// Package storagetest runs a storage server and its clients in one process, over
// any device, for tests. The server can be killed and succeeded at any moment.
//
// A Server's methods belong to the test's goroutine; volumes may be used from
// any.
package storagetest

import (
	"context"
	"errors"
	"testing"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/storage"
	"github.com/quintet-os/quintet/storage/client"
	"github.com/quintet-os/quintet/storage/server"
)

// Sizes of a session made here.
const (
	Slots       = 64
	BufferBytes = 8 << 20
)

// Open opens the device under test; it is called on the server's thread, once
// for each incarnation.
type Open func() (storage.Device, error)

// Server is one storage server, through all its incarnations.
type Server struct {
	t          testing.TB
	open       Open
	limits     server.Limits
	sessions   []*Session
	generation uint64

	// Of the present incarnation.
	Core   *server.Core
	Volume *server.Volume
	device storage.Device
	loop   *ipc.Loop
	stop   context.CancelFunc
	done   chan error
}

// Session is one client of the server.
type Session struct {
	ID       uint64
	ReadOnly bool
	IPC      *ipc.Client
	Client   *client.Session
	Volume   *client.Volume
	Served   *ipc.Session // the server's side, of the present incarnation

	geometry                ipc.Geometry
	client, server, buffers []byte
	doorbell                int
}

// Start starts a server over the device that open opens. It ends with the test.
func Start(t testing.TB, open Open, limits server.Limits) *Server {
	t.Helper()
	s := &Server{t: t, open: open, limits: limits}
	s.begin()
	t.Cleanup(s.Kill)
	return s
}

// begin starts an incarnation that serves all sessions.
func (s *Server) begin() {
	s.t.Helper()
	s.generation++
	set := ipc.NewSessions()
	s.Core = server.NewCore(set)
	var err error
	if s.loop, err = ipc.NewLoop(ipc.LoopConfig{Core: s.Core, Sessions: set}); err != nil {
		s.t.Fatal(err)
	}
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	s.done = make(chan error, 1)
	ready := make(chan error, 1)
	s.loop.Post(func() { ready <- s.enter() })
	loop, done := s.loop, s.done
	go func() { done <- loop.Run(ctx) }()
	if err := <-ready; err != nil {
		s.t.Fatal(err)
	}
}

// enter runs on the server's thread.
func (s *Server) enter() error {
	var err error
	if s.device, err = s.open(); err != nil {
		return err
	}
	if s.device.Wakeup() >= 0 {
		if err := s.loop.Watch(s.device.Wakeup()); err != nil {
			return err
		}
	}
	s.Volume = s.Core.AddVolume("test", s.device)
	for _, session := range s.sessions {
		if err := s.serve(session); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) serve(session *Session) error {
	served, err := ipc.NewSession(ipc.SessionConfig{ID: session.ID, Geometry: session.geometry,
		Client: session.client, Server: session.server, Doorbell: session.doorbell})
	if err != nil {
		return err
	}
	served.Attach(s.generation)
	served.AddRegion(&ipc.Region{ID: 0, Mem: session.buffers, Writable: true})
	session.Served = served
	s.Core.AddSession(served, []server.Grant{{Volume: s.Volume, ReadOnly: session.ReadOnly}}, s.limits)
	return s.loop.Add(served)
}

// On runs f on the server's thread, between two steps, and waits for it.
func (s *Server) On(f func()) {
	done := make(chan struct{})
	s.loop.Post(func() {
		f()
		close(done)
	})
	<-done
}

// Connect adds a client.
func (s *Server) Connect(readOnly bool) *Session {
	s.t.Helper()
	g := ipc.Geometry{Slots: Slots}
	session := &Session{
		ID: uint64(len(s.sessions) + 1), ReadOnly: readOnly, geometry: g,
		// Of this size the Go heap aligns to pages.
		client: make([]byte, g.ClientBytes()), server: make([]byte, g.ServerBytes()),
	}
	var err error
	if session.buffers, err = unix.MapAnonymous(BufferBytes); err != nil {
		s.t.Fatal(err)
	}
	if session.doorbell, err = unix.CreateEventfd(); err != nil {
		s.t.Fatal(err)
	}
	if err := errors.Join(ipc.FormatClient(session.client, g), ipc.FormatServer(session.server, g)); err != nil {
		s.t.Fatal(err)
	}
	session.IPC, err = ipc.NewClient(ipc.ClientConfig{Geometry: g, Client: session.client, Server: session.server, Doorbell: session.doorbell})
	if err != nil {
		s.t.Fatal(err)
	}
	s.On(func() { err = s.serve(session) })
	if err != nil {
		s.t.Fatal(err)
	}
	s.sessions = append(s.sessions, session)
	session.Client = client.New(session.IPC, Slots, client.NewBuffers(0, session.buffers))
	if session.Volume, err = session.Client.Volume(context.Background(), 0); err != nil {
		s.t.Fatal(err)
	}
	return session
}

// Kill ends the incarnation between two of its steps. What its device had in
// flight is waited for, as the fence does, and not answered.
func (s *Server) Kill() {
	s.stop()
	if err := <-s.done; err != nil {
		s.t.Error(err)
	}
	if err := s.loop.Close(); err != nil {
		s.t.Error(err)
	}
	if err := s.device.Close(); err != nil {
		s.t.Error(err)
	}
}

// Succeed starts a successor of a killed server.
func (s *Server) Succeed() {
	s.t.Helper()
	s.begin()
}
