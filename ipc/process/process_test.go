package process_test

import (
	"slices"
	"testing"
	"time"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/ipc/process"
	"github.com/quintet-os/quintet/ipc/process/processtest"
)

// hoarder is a service that never answers, and never forgets a session.
type hoarder struct {
	process *process.Process
	set     *ipc.Sessions
	all     []*process.Session
}

func (h *hoarder) Step(time.Duration) (worked bool) {
	for _, s := range h.set.Active() {
		if r, ok := s.Next(); ok {
			s.Begin(r.Slot)
			worked = true
		}
	}
	for _, s := range h.all { // those that have gone included
		h.set.Hold(s.IPC)
		h.set.Release(s.IPC)
		s.IPC.ClientClosed()
		s.IPC.In(0).Push(&ipc.Descriptor{1})
		s.IPC.In(0).Publish()
		s.IPC.Out(0).Pop(new(ipc.Descriptor))
		s.IPC.Begin(0)
	}
	return worked
}

func (h *hoarder) Take(*broker.Message) (bool, error) { return false, nil }
func (h *hoarder) Prepare(s *process.Session) error {
	if h.process.Active() {
		return h.process.Attach(s)
	}
	h.all = append(h.all, s)
	return nil
}

func (h *hoarder) Activate() {
	for _, s := range h.all {
		if h.process.Session(s.Body.ID) != s {
			continue
		}
		if err := h.process.Attach(s); err != nil {
			h.process.Fail(err)
		}
	}
	h.process.Recovered()
}

func (h *hoarder) Serve(s *process.Session) error {
	if !slices.Contains(h.all, s) {
		h.all = append(h.all, s)
	}
	return nil
}
func (h *hoarder) Settled() bool                           { return true }
func (h *hoarder) Remove(_ *process.Session, done func())  { done() }
func (h *hoarder) Drain()                                  {}
func (h *hoarder) Drained() bool                           { return true }
func (h *hoarder) Count(time.Duration, broker.StatusWords) {}

// TestASessionEndsBeforeItsMemory: a service that goes on using sessions that were
// dropped, as a standby or serving, reaches no memory of theirs.
func TestASessionEndsBeforeItsMemory(t *testing.T) {
	s := processtest.Start(t, func(conn *broker.Conn, ready broker.Ready) error {
		return process.Run(conn, ready, func(p *process.Process, set *ipc.Sessions) process.Service {
			return &hoarder{process: p, set: set}
		})
	})
	g := ipc.Geometry{Slots: 2, RingsOut: 1, RingsIn: 1, RingEntries: 4}
	s.Connect(1, g, nil)
	s.Connect(2, g, nil)
	s.Status()
	s.Drop(1)
	s.Activate(1)
	for id := uint64(3); id < 30; id++ {
		c := s.Connect(id, g, nil)
		if _, err := c.Start(t.Context(), &ipc.Words{}); err != nil {
			t.Fatal(err)
		}
		s.Drop(id)
	}
	if c := s.Connect(99, g, nil); c.Err() != nil {
		t.Error(c.Err())
	}
	s.Drop(99)
}
