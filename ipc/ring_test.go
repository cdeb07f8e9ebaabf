package ipc

import (
	"context"
	"errors"
	"testing"
	"time"
)

func ringPair(t *testing.T, entries int) *pair {
	return newPair(t, Geometry{Slots: 1, RingsOut: 1, RingsIn: 1, RingEntries: entries})
}

func TestReleaseGivesBackTheOldest(t *testing.T) {
	p := ringPair(t, 4)
	out, taken := p.client.Out(0), p.session.Out(0)
	for i := range uint64(4) {
		out.Push(&Descriptor{i})
	}
	out.Publish()
	var d Descriptor
	for range 3 {
		taken.Pop(&d)
	}
	taken.Release(1)
	if free := out.Free(); free != 1 {
		t.Errorf("one of four released leaves room for %d", free)
	}
	if n := taken.Available(); n != 1 {
		t.Errorf("%d available after three pops of four", n)
	}
	s := p.attach(2)
	if got := s.Out(0).Released(); got != 1 {
		t.Errorf("the successor counts %d released, want 1", got)
	}
	for want := uint64(1); want < 4; want++ {
		if !s.Out(0).Pop(&d) || d[0] != want {
			t.Fatalf("the successor pops %v, want %d", d, want)
		}
	}
}

// rings tells how often the server has rung the client, now that it sleeps.
func (p *pair) rings(f func()) uint64 {
	p.client.mine.announce(offClientSleep, p.session.bell&0xffffffff+1)
	before := p.session.bell
	f()
	return p.session.bell - before
}

func TestOnlyAFullRingWantsToHearOfRoom(t *testing.T) {
	p := ringPair(t, 4)
	out, taken := p.client.Out(0), p.session.Out(0)
	var d Descriptor
	for range 3 {
		out.Push(&Descriptor{})
	}
	out.Publish()
	if n := p.rings(func() { taken.Pop(&d); taken.Commit() }); n != 0 {
		t.Errorf("a ring with room: %d rings", n)
	}
	for out.Push(&Descriptor{}) {
	}
	out.Publish()
	if n := p.rings(func() { taken.Pop(&d); taken.Commit() }); n != 1 {
		t.Errorf("a full ring: %d rings", n)
	}
}

// One goroutine waits for the rings while another fills one: the waiting one must
// be rung for room even if part of what fills the ring had not been published
// when the other side made it.
func TestRoomBesideUnpublishedDescriptorsRings(t *testing.T) {
	p := ringPair(t, 4)
	out, taken := p.client.Out(0), p.session.Out(0)
	var d Descriptor
	for range 2 {
		out.Push(&Descriptor{})
	}
	out.Publish()
	for range 2 {
		out.Push(&Descriptor{})
	}
	if out.Push(&Descriptor{}) {
		t.Fatal("a fifth descriptor found room in a ring of four")
	}
	if n := p.rings(func() { taken.Pop(&d); taken.Pop(&d); taken.Commit() }); n != 1 {
		t.Errorf("room in a ring that its owner found full: %d rings", n)
	}
}

func TestWaitRingsSeesRoomInAFullRing(t *testing.T) {
	p := ringPair(t, 4)
	out := p.client.Out(0)
	for out.Push(&Descriptor{}) {
	}
	out.Publish()
	waited := make(chan error)
	go func() { waited <- p.client.WaitRings(t.Context()) }()
	var d Descriptor
	p.session.Out(0).Pop(&d)
	p.session.Out(0).Commit()
	p.session.WakeClient()
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	if !out.Push(&Descriptor{}) {
		t.Fatal("no room after the wait")
	}
	if out.Free() != 0 {
		t.Fatal("more room than was made")
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { waited <- p.client.WaitRings(ctx) }()
	cancel()
	if err := <-waited; !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for room that nobody makes gave %v", err)
	}
	p.session.Out(0).Pop(&d)
	p.session.Out(0).Commit()
	if err := p.client.WaitRings(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("after its context's end, with room that nobody takes, waiting gave %v", err)
	}
}

// alarm works once, at its deadline.
type alarm struct {
	at    time.Duration
	fired chan time.Duration
}

func (a *alarm) Step(now time.Duration) bool {
	if a.at == 0 || now < a.at {
		return false
	}
	a.at = 0
	a.fired <- now
	return true
}

func (a *alarm) Deadline() (time.Duration, bool) { return a.at, a.at != 0 }

func TestLoopStepsAtTheDeadline(t *testing.T) {
	a := &alarm{at: 3 * time.Millisecond, fired: make(chan time.Duration, 1)}
	l, err := NewLoop(LoopConfig{Core: a, Sessions: NewSessions(), Spin: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	if now := <-a.fired; now < 3*time.Millisecond {
		t.Errorf("stepped at %v, before the deadline", now)
	}
	cancel()
	if err := errors.Join(<-done, l.Close()); err != nil {
		t.Error(err)
	}
}
