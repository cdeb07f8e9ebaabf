package ipc

import (
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
)

// forward is a core that passes on what comes in the first ring, and holds what it has
// no room for.
type forward struct{ sessions *Sessions }

func (f *forward) Step(time.Duration) (worked bool) {
	for _, s := range f.sessions.Active() {
		out, in := s.Out(0), s.In(0)
		if in.Free() == 0 {
			out.Pause()
			continue
		}
		out.Resume()
		var d Descriptor
		for in.Free() > 0 && out.Pop(&d) {
			in.Push(&d)
			worked = true
		}
		in.Publish()
		out.Commit()
	}
	return worked
}

// idleTurnsMax is how many turns with nothing to do a session may be looked at before
// it sleeps, out of idleTurns.
const idleTurns, idleTurnsMax = 999, 4

// idle plays the loop while nobody rings, and returns the turns in which something was
// looked at.
func idle(core Core, set *Sessions) (awake int) {
	for turn := range uint64(idleTurns) {
		if !core.Step(0) && set.Cool(turn+1, 1) == 0 {
			continue
		}
		set.WakeClients()
		awake++
	}
	return awake
}

// listen returns a function that tells whether the doorbell was rung since the last
// call.
func (p *pair) listen() (rung func() bool) {
	p.t.Helper()
	epoll, err := unix.NewEpoll(1)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { epoll.Close() })
	if err := epoll.Add(p.doorbell, 0); err != nil {
		p.t.Fatal(err)
	}
	return func() (heard bool) {
		if err := epoll.Wait(0, func(int32) { heard = true }); err != nil {
			p.t.Fatal(err)
		}
		return heard
	}
}

func TestWhatIsNotTakenKeepsNobodyAwake(t *testing.T) {
	g := Geometry{Slots: 70, RingsOut: 2, RingsIn: 1, RingEntries: 4}
	push := func(p *pair, n int) (pushed int) {
		for range n {
			if p.client.Out(0).Push(&Descriptor{}) {
				pushed++
			}
		}
		p.client.Out(0).Publish()
		return pushed
	}
	expectSleep := func(t *testing.T, core Core, set *Sessions) {
		t.Helper()
		if n := idle(core, set); n > idleTurnsMax {
			t.Errorf("awake in %d of %d idle turns", n, idleTurns)
		}
	}
	t.Run("a request to a core that takes none", func(t *testing.T) {
		p, set := newPair(t, g), NewSessions()
		rung := p.listen()
		set.Limit(Takes{Rings: true})
		set.Add(p.session)
		k, err := p.client.Start(t.Context(), &Words{})
		if err != nil {
			t.Fatal(err)
		}
		expectSleep(t, &forward{set}, set)
		if _, ok := p.session.Next(); ok || k.Done() || p.session.Err() != nil {
			t.Error("it was looked at")
		}
		if push(p, 1); !rung() {
			t.Fatal("the doorbell was not rung")
		}
		set.Wake(p.session)
		expectSleep(t, &forward{set}, set)
		if p.client.In(0).Available() != 1 {
			t.Error("what is taken was not")
		}
	})
	t.Run("a descriptor for a core that reads no rings", func(t *testing.T) {
		p, set := newPair(t, g), NewSessions()
		rung := p.listen()
		set.Limit(Takes{Requests: true})
		set.Add(p.session)
		push(p, 3)
		expectSleep(t, &echo{set}, set)
		k, err := p.client.Start(t.Context(), &Words{})
		if err != nil || !rung() {
			t.Fatalf("the doorbell was not rung, %v", err)
		}
		set.Wake(p.session)
		expectSleep(t, &echo{set}, set)
		if !k.Done() {
			t.Error("what is taken was not")
		}
	})
	t.Run("descriptors that find no room", func(t *testing.T) {
		p, set := newPair(t, g), NewSessions()
		rung := p.listen()
		set.Add(p.session)
		if n := push(p, g.RingEntries); n != g.RingEntries {
			t.Fatalf("pushed %d", n)
		}
		expectSleep(t, &forward{set}, set) // they are in the other ring now
		push(p, g.RingEntries)
		rung()
		set.Wake(p.session)
		expectSleep(t, &forward{set}, set)
		if rung() {
			t.Fatal("the doorbell was rung without a reason")
		}
		var d Descriptor
		for range g.RingEntries {
			if !p.client.In(0).Pop(&d) {
				t.Fatal("too few came")
			}
		}
		p.client.In(0).Commit()
		if !rung() {
			t.Fatal("the doorbell was not rung for room")
		}
		set.Wake(p.session)
		expectSleep(t, &forward{set}, set)
		if n := p.client.In(0).Available(); n != g.RingEntries {
			t.Errorf("%d of %d descriptors came when there was room", n, g.RingEntries)
		}
	})
	t.Run("what is held", func(t *testing.T) {
		p, set := newPair(t, g), NewSessions()
		rung := p.listen()
		set.Add(p.session)
		set.Hold(p.session)
		k, err := p.client.Start(t.Context(), &Words{})
		if err != nil {
			t.Fatal(err)
		}
		expectSleep(t, &echo{set}, set)
		set.Wake(p.session)
		expectSleep(t, &echo{set}, set)
		if k.Done() || rung() {
			t.Error("a held session was looked at, or its client told to ring")
		}
		set.Release(p.session)
		expectSleep(t, &echo{set}, set)
		if !k.Done() {
			t.Error("not served when it was released")
		}
	})
	t.Run("anything after the last step", func(t *testing.T) {
		p, late, set := newPair(t, g), newPair(t, g), NewSessions()
		late.session.ID = 2
		set.Add(p.session)
		set.Stop()
		set.Add(late.session)
		for _, p := range []*pair{p, late} {
			if _, err := p.client.Start(t.Context(), &Words{}); err != nil {
				t.Fatal(err)
			}
			set.Release(p.session)
			set.Wake(p.session)
		}
		expectSleep(t, &echo{set}, set)
		if p.session.Served()+late.session.Served() != 0 {
			t.Error("a core that has stopped is asked to serve")
		}
	})
}

// TestWhoIsAnsweredNeedNotRing: a session whose reply comes while it sleeps is looked
// at again at once, since its client is about to ask for more.
func TestWhoIsAnsweredNeedNotRing(t *testing.T) {
	p := newPair(t, Geometry{Slots: 4})
	set := NewSessions()
	set.Add(p.session)
	first, err := p.client.Start(t.Context(), &Words{})
	if err != nil {
		t.Fatal(err)
	}
	r, ok := p.session.Next()
	if !ok {
		t.Fatal("no request")
	}
	for turn := uint64(1); set.Cool(turn, 1) > 0; turn++ {
		if turn > idleTurnsMax {
			t.Fatal("a session that waits for a device does not sleep")
		}
	}
	rung := p.listen()
	rung()
	p.session.Reply(r.Slot, &r.Words)
	if err := first.Wait(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := p.client.Start(t.Context(), &Words{}); err != nil {
		t.Fatal(err)
	}
	if rung() {
		t.Error("the doorbell was rung, which a server that does not sleep hears late")
	}
	if len(set.Active()) != 1 {
		t.Error("the session is not looked at")
	}
	if _, ok := p.session.Next(); !ok {
		t.Error("the second request is not found")
	}
}

// TestRepliesAreNoRings: a client whose doorbell was heard after the server had found by
// itself what it was rung for, and that is answered again and again while it sleeps, has
// rung for nothing once, and is heard the next time.
func TestRepliesAreNoRings(t *testing.T) {
	p := newPair(t, Geometry{Slots: 4 * vainMax})
	set := NewSessions()
	set.Add(p.session)
	for range 2 * vainMax {
		if _, err := p.client.Start(t.Context(), &Words{}); err != nil {
			t.Fatal(err)
		}
	}
	var taken []Request
	for r, ok := p.session.Next(); ok; r, ok = p.session.Next() {
		taken = append(taken, r)
	}
	now := uint64(1)
	sleep := func() {
		t.Helper()
		for turn := 0; set.Cool(now, 1) > 0; turn++ {
			if now++; turn > idleTurnsMax {
				t.Fatal("a session that waits for a device does not sleep")
			}
		}
	}
	sleep()
	set.Ring(p.session) // late
	sleep()
	for _, r := range taken {
		p.session.Reply(r.Slot, &r.Words)
		sleep()
	}
	if !set.Ring(p.session) {
		t.Error("a client that has rung for nothing once is not heard")
	}
}
