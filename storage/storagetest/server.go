// Package storagetest runs a storage server and its clients in one process, over
// any devices, for tests. The server can be killed and succeeded at any moment.
//
// A Server's methods belong to the test's goroutine; volumes may be used from
// any.
package storagetest

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/storage"
	"github.com/quintet-os/quintet/storage/server"
)

// Open opens a device under test; it is called on the server's thread, once for
// each incarnation. What the last incarnation's device had in flight may still
// end: whoever opens the same storage waits for it, as device.File's Fence does.
type Open func() (storage.Device, error)

// Server is one storage server, through all its incarnations.
type Server struct {
	t          testing.TB
	open       []Open
	limits     storage.Limits
	sessions   []*Session
	generation uint64
	replayed   uint64 // by former incarnations

	// Of the present incarnation.
	Core    *server.Core
	Volumes []*server.Volume
	fate    *fate
	devices []storage.Device
	loop    *ipc.Loop
	stop    context.CancelFunc
	done    chan error
}

// Start starts a server with one volume for each of open. It ends with the test.
func Start(t testing.TB, limits storage.Limits, open ...Open) *Server {
	t.Helper()
	s := &Server{t: t, open: open, limits: limits}
	s.begin()
	t.Cleanup(s.end)
	return s
}

// begin starts an incarnation that serves all sessions.
func (s *Server) begin() {
	s.t.Helper()
	s.generation++
	set := ipc.NewSessions()
	s.Core = server.NewCore(set)
	s.Volumes, s.devices, s.fate = nil, nil, &fate{}
	var err error
	if s.loop, err = ipc.NewLoop(ipc.LoopConfig{Core: s.Core, Sessions: set}); err != nil {
		s.t.Fatal(err)
	}
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	s.done = make(chan error, 1)
	ready := make(chan error, 1)
	s.loop.Post(func() { ready <- s.enter() })
	go func() { s.done <- s.run(ctx) }()
	if err := <-ready; err != nil {
		s.t.Fatal(err)
	}
}

// run is the server's thread: devices are opened, used and closed here.
func (s *Server) run(ctx context.Context) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer func() {
		for _, d := range s.devices {
			err = errors.Join(err, d.Close())
		}
	}()
	return survive(func() error { return s.loop.Run(ctx) })
}

// enter runs on the server's thread.
func (s *Server) enter() error {
	for _, open := range s.open {
		d, err := open()
		if err != nil {
			return err
		}
		s.devices = append(s.devices, d)
		if d.Wakeup() >= 0 {
			if err := s.loop.Watch(d.Wakeup()); err != nil {
				return err
			}
		}
		s.Volumes = append(s.Volumes, s.Core.AddVolume("test", &mortal{d, s.fate}))
	}
	for _, session := range s.sessions {
		if err := s.serve(session); err != nil {
			return err
		}
	}
	return nil
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

// Kill ends the incarnation: in the middle of a step, at the calls-th next call
// of a device or before, or between two steps. What it had taken is not answered.
func (s *Server) Kill(calls int) {
	s.t.Helper()
	s.fate.set(calls)
	s.stop()
	if err := <-s.done; err != nil {
		s.t.Error(err)
	}
	if err := s.loop.Close(); err != nil {
		s.t.Error(err)
	}
	s.replayed += s.Core.Total().Replayed
	s.loop = nil
}

// Succeed starts a successor of a killed server.
func (s *Server) Succeed() {
	s.t.Helper()
	s.begin()
}

// Replayed is the number of requests that killed incarnations had taken over
// from their predecessors.
func (s *Server) Replayed() uint64 { return s.replayed }

func (s *Server) end() {
	if s.loop != nil {
		s.Kill(1)
	}
	for _, session := range s.sessions {
		session.close()
	}
}
