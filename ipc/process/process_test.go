package process_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/ipc/process"
	"github.com/quintet-os/quintet/ipc/process/processtest"
	"github.com/quintet-os/quintet/ipc/shm"
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

func hoard(conn *broker.Conn, ready broker.Ready) error {
	return process.Run(conn, ready, func(p *process.Process, set *ipc.Sessions) process.Service {
		return &hoarder{process: p, set: set}
	})
}

// TestASessionEndsBeforeItsMemory: a service that goes on using sessions that were
// dropped, as a standby or serving, reaches no memory of theirs.
func TestASessionEndsBeforeItsMemory(t *testing.T) {
	s := processtest.Start(t, hoard)
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

// TestNoRoomEndsNoServer: a process that serves and cannot take what it is handed, for
// want of descriptors, says so and goes on.
func TestNoRoomEndsNoServer(t *testing.T) {
	s := processtest.Start(t, hoard)
	g := ipc.Geometry{Slots: 2, RingsOut: 1, RingsIn: 1, RingEntries: 4}
	s.Connect(1, g, nil)
	s.Status()
	s.Activate(1)
	mine, theirs := s.Memory(g.ClientBytes(), shm.OneWriter), s.Memory(g.ServerBytes(), shm.Shared)
	soft, hard, err := unix.Limits(unix.LimitDescriptors)
	if err != nil {
		t.Fatal(err)
	}
	next, err := unix.CreateEventfd() // the lowest that is free
	if err != nil {
		t.Fatal(err)
	}
	unix.CloseAll([]int{next})
	for room := range uint64(3) { // descriptors of three
		if err := unix.SetLimits(unix.LimitDescriptors, uint64(next)+room, hard); err != nil {
			t.Fatal(err)
		}
		s.Send(&broker.Session{ID: 2 + room, Client: "test", Geometry: g}, mine.FD, theirs.FD, theirs.FD)
		failed := s.Next().(*broker.SessionFailed)
		if room == 0 {
			s.Ask(&broker.Region{Session: 1, Bytes: int64(g.ServerBytes())}, theirs.FD)
		}
		if err := unix.SetLimits(unix.LimitDescriptors, soft, hard); err != nil {
			t.Fatal(err)
		}
		if failed.Session != 2+room || !strings.Contains(failed.Reason, "too many open files") {
			t.Errorf("with room for %d descriptors: %+v", room, failed)
		}
	}
	if len(s.Told) != 1 || s.Told[0].(*broker.SessionFailed).Session != 1 {
		t.Errorf("told of the region: %+v", s.Told)
	}
	if c := s.Connect(99, g, nil); c.Err() != nil {
		t.Error(c.Err())
	}
	s.Drop(99)
}
