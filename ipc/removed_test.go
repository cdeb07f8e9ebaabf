package ipc

import (
	"bytes"
	"errors"
	"testing"
)

// everything does to a session, and to its set, all that a core, a loop or somebody
// with an old reference could do.
func everything(ss *Sessions, s *Session) {
	ss.Hold(s)
	ss.Release(s)
	ss.Wake(s)
	ss.Cool(1, 0)
	ss.settle()
	ss.WakeClients()
	s.NextStarted()
	s.Next()
	s.Begin(1)
	s.Execute(1)
	s.Park(1)
	if s.inflight[0]&2 != 0 {
		s.Reply(1, &Words{1, 2, 3})
	}
	s.Fail(ReasonRequest, "too late")
	s.WakeClient()
	s.ringIfAsleep()
	s.announceSleep()
	s.announceAwake()
	s.pending()
	s.AddRegion(&Region{ID: 1, Mem: []byte{0}})
	s.Inspect()
	var d Descriptor
	for r := range s.out {
		s.Out(r).Available()
		s.Out(r).Pop(&d)
		s.Out(r).Release(1)
		s.Out(r).Commit()
		s.Out(r).attach()
	}
	for r := range s.in {
		s.In(r).Free()
		s.In(r).Push(&d)
		s.In(r).tail++ // as if pushed before
		s.In(r).Publish()
		s.In(r).gained()
		s.In(r).attach()
	}
	s.checkRings()
	s.Attach(9)
	ss.Remove(s)
	s.End()
}

// TestRemovedSessionReachesNoMemory: whatever state it was removed in, nothing that is
// done with a session afterwards writes to its memory, reads it, or brings the
// session back.
func TestRemovedSessionReachesNoMemory(t *testing.T) {
	states := map[string]func(*Sessions, *Session){
		"awake": func(*Sessions, *Session) {},
		"asleep": func(ss *Sessions, s *Session) {
			for tick := uint64(1); tick < 4; tick++ {
				ss.Cool(tick, 1)
			}
			if s.look != asleep {
				t.Fatal("it does not sleep")
			}
		},
		"held":            func(ss *Sessions, s *Session) { ss.Hold(s) },
		"held and cooled": func(ss *Sessions, s *Session) { ss.Hold(s); ss.Cool(1, 0) },
		"released":        func(ss *Sessions, s *Session) { ss.Hold(s); ss.Release(s) },
		"failed":          func(_ *Sessions, s *Session) { s.Fail(ReasonRequest, "") },
		"ringing":         func(_ *Sessions, s *Session) { s.ring() },
		"taken":           func(_ *Sessions, s *Session) { s.Next(); s.Next(); s.Begin(1) },
		"stopped":         func(ss *Sessions, _ *Session) { ss.Stop() },
	}
	for name, enter := range states {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, hostileGeometry)
			p.client.Close() // nobody but the server writes
			for slot := range 2 {
				p.client.mine.publish(p.g.record(slot), 1)
				p.client.mine.toggle(offSubmitBits, slot, 1)
			}
			ss := NewSessions()
			ss.Add(p.session)
			if name == "asleep" {
				p.session.Next()
				p.session.Next()
			}
			enter(ss, p.session)
			ss.Remove(p.session)
			// Somebody else's from here on; what a session would take from it is absurd.
			for i := range p.smem {
				p.smem[i], p.cmem[i%len(p.cmem)] = 0xa5, 0xa5
			}
			mine, theirs := bytes.Clone(p.smem), bytes.Clone(p.cmem)
			everything(ss, p.session)
			if !bytes.Equal(p.smem, mine) || !bytes.Equal(p.cmem, theirs) {
				t.Error("the memory of a removed session was written")
			}
			if p.session.client != (memory{}) || p.session.server != (memory{}) || len(p.session.regions) > 0 {
				t.Error("a removed session refers to memory")
			}
			if len(ss.byID) != 0 || len(ss.Active()) != 0 || len(ss.ringing) != 0 {
				t.Error("it is in the set again")
			}
			if !errors.Is(p.session.Err(), ErrSession) {
				t.Errorf("it says %v", p.session.Err())
			}
		})
	}
}

// A set has nothing to do with the sessions of another.
func TestSetsLeaveEachOthersSessionsAlone(t *testing.T) {
	p := newPair(t, Geometry{Slots: 1})
	mine, other := NewSessions(), NewSessions()
	mine.Add(p.session)
	other.Hold(p.session)
	if p.session.Held() {
		t.Error("held by another set")
	}
	mine.Hold(p.session)
	other.Release(p.session)
	other.Wake(p.session)
	other.Remove(p.session)
	if !p.session.Held() || len(mine.byID) != 1 || p.session.Err() != nil || len(other.Active()) != 0 {
		t.Error("another set changed it")
	}
}

// Numbers of doorbells begin anew after a long life, and never are somebody else's.
func TestDoorbellsKeepTheirNumbers(t *testing.T) {
	a, b, c := newPair(t, Geometry{Slots: 1}), newPair(t, Geometry{Slots: 1}), newPair(t, Geometry{Slots: 1})
	set := NewSessions()
	l, err := NewLoop(LoopConfig{Core: &echo{set}, Sessions: set})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i, p := range []*pair{a, b, c} {
		p.session.ID = uint64(i)
		if err := l.Add(p.session); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			l.token = 1<<31 - 1
		}
	}
	if len(l.tokens) != 3 || c.session.token < 0 {
		t.Errorf("three doorbells have %d numbers, the last is %d", len(l.tokens), c.session.token)
	}
}
