package ipc

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/internal/unix/unixtest"
)

// newRequesterPair is a session whose client is a requester, not attached.
func newRequesterPair(t testing.TB, g Geometry) (*pair, *Requester) {
	t.Helper()
	bell, err := unix.CreateEventfd()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(bell) })
	p := newPair(t, g)
	p.bell = bell
	p.session = p.attach(1)
	return p, p.requester()
}

// requester makes one, the first or a successor.
func (p *pair) requester() *Requester {
	p.t.Helper()
	r, err := NewRequester(RequesterConfig{Geometry: p.g, Client: p.cmem, Server: p.smem, Doorbell: p.doorbell, Bell: p.bell})
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// step has the server answer all requests.
func (p *pair) step(set *Sessions) {
	(&echo{set}).Step(0)
	set.WakeClients()
}

func TestRequester(t *testing.T) {
	g := Geometry{Slots: 70}
	p, r := newRequesterPair(t, g)
	r.Attach()
	set := NewSessions()
	set.Add(p.session)
	for round := range uint64(5) {
		asked := make(map[int]uint64)
		for i := range uint64(g.Slots) {
			slot, ok := r.Submit(&Words{round*1000 + i})
			if !ok {
				t.Fatalf("no slot for request %d of %d", i, g.Slots)
			}
			asked[slot] = round*1000 + i
		}
		if _, ok := r.Submit(&Words{}); ok || len(asked) != g.Slots {
			t.Fatalf("%d slots for %d requests and one more (%v)", len(asked), g.Slots, ok)
		}
		var reply Words
		if _, ok := r.Poll(&reply); ok {
			t.Fatal("a reply before the server has stepped")
		}
		for r.InFlight() > 0 {
			p.step(set)
			if r.Sleep() {
				t.Fatal("it would sleep with replies that have come")
			}
			r.Wake()
			for {
				slot, ok := r.Poll(&reply)
				if !ok {
					break
				}
				want, known := asked[slot]
				if delete(asked, slot); !known || reply[0] != want+1 {
					t.Fatalf("slot %d: replied %d, asked %d (%v)", slot, reply[0], want, known)
				}
			}
		}
		if len(asked) > 0 {
			t.Fatalf("%d requests have no reply", len(asked))
		}
	}
	p.session.Fail(ReasonRequest, "")
	if _, ok := r.Submit(&Words{}); ok || !errors.Is(r.Err(), ErrSession) {
		t.Errorf("after the end of the session a request is taken (%v), and the error is %v", ok, r.Err())
	}
	r.End()
	if _, ok := r.Poll(new(Words)); ok || r.InFlight() != 0 {
		t.Error("a requester that has let go has replies")
	}
}

// relay is a core that asks another server for what its clients want.
type relay struct {
	sessions *Sessions
	behind   *Requester
	from     map[int]pending // by slot behind
	waiting  []pending       // taken, with no slot behind
}

type pending struct {
	session *Session
	slot    int
	words   Words
}

func (r *relay) Step(time.Duration) (worked bool) {
	var reply Words
	for {
		slot, ok := r.behind.Poll(&reply)
		if !ok {
			break
		}
		worked = true
		p := r.from[slot]
		delete(r.from, slot)
		p.session.Reply(p.slot, &reply)
	}
	for _, s := range r.sessions.Active() {
		for len(r.waiting) == 0 {
			q, ok := s.Next()
			if !ok {
				break
			}
			worked = true
			s.Begin(q.Slot)
			s.Park(q.Slot)
			r.waiting = append(r.waiting, pending{s, q.Slot, q.Words})
			r.pass()
		}
	}
	r.pass()
	return worked
}

// pass submits what waits.
func (r *relay) pass() {
	for len(r.waiting) > 0 {
		slot, ok := r.behind.Submit(&r.waiting[0].words)
		if !ok {
			return
		}
		r.from[slot] = r.waiting[0]
		r.waiting = r.waiting[1:]
	}
}

// TestRelay: a server that is a client of another, in every mixture of sleeping and
// spinning, with fewer slots behind than before it.
func TestRelay(t *testing.T) {
	for name, spin := range map[string]time.Duration{"spinning": 0, "sleeping": -1} {
		t.Run(name, func(t *testing.T) {
			behind, r := newRequesterPair(t, Geometry{Slots: 3})
			r.Attach()
			serve(t, spin, behind.session)
			front := newPair(t, Geometry{Slots: 16})
			set := NewSessions()
			core := &relay{sessions: set, behind: r, from: make(map[int]pending)}
			run(t, LoopConfig{Core: core, Sessions: set, Spin: spin}, []*Session{front.session}, r)
			var callers sync.WaitGroup
			for caller := range uint64(8) {
				callers.Go(func() {
					for i := range uint64(400) {
						var reply Words
						if err := front.client.Call(t.Context(), &Words{i, caller}, &reply); err != nil || reply != (Words{i + 1, caller}) {
							t.Errorf("asked %d, %d: %v, %v", i, caller, reply, err)
							return
						}
					}
				})
			}
			callers.Wait()
		})
	}
}

// TestRequesterTakeover: a requester dies with requests in each state, and its
// successor gets exactly the replies that it had not polled; what was answered is free.
func TestRequesterTakeover(t *testing.T) {
	p, r := newRequesterPair(t, Geometry{Slots: 8})
	r.Attach()
	set := NewSessions()
	set.Add(p.session)
	submit := func(r *Requester, v uint64) int {
		t.Helper()
		slot, ok := r.Submit(&Words{v})
		if !ok {
			t.Fatal("no slot")
		}
		return slot
	}
	var reply Words
	submit(r, 1)
	p.step(set)
	if _, ok := r.Poll(&reply); !ok {
		t.Fatal("no reply")
	}
	submit(r, 10) // answered, and not polled
	p.step(set)
	waits := submit(r, 20)
	published := 5 // its bit not toggled
	r.mine.putWords(p.g.record(published), &Words{30})
	r.mine.publish(p.g.record(published), 1)
	r.mine.putWords(p.g.record(6), &Words{40}) // written, and not published
	r.mine.announce(offClientSleep, 1)         // asleep

	successor := p.requester()
	successor.Attach()
	if n := successor.InFlight(); n != 2 {
		t.Errorf("%d requests in flight, want 2", n)
	}
	for slot, want := range map[int]uint64{waits: 20, published: 30} {
		if words, flying := successor.Flying(slot); !flying || words[0] != want {
			t.Errorf("slot %d: %v %v, want request %d in flight", slot, words[0], flying, want)
		}
	}
	if p.session.client.load(offClientSleep) != 0 {
		t.Error("its predecessor's sleep is announced still")
	}
	p.step(set)
	got := map[int]uint64{}
	for {
		slot, ok := successor.Poll(&reply)
		if !ok {
			break
		}
		got[slot] = reply[0]
	}
	if len(got) != 2 || got[waits] != 21 || got[published] != 31 {
		t.Errorf("replies %v, want %d: 21 and %d: 31", got, waits, published)
	}
	for i := range uint64(8) {
		submit(successor, 100+i)
	}
	p.step(set)
	for range 8 {
		if _, ok := successor.Poll(&reply); !ok || reply[0] < 101 || reply[0] > 108 {
			t.Fatalf("replied %d, %v", reply[0], ok)
		}
	}
	if err := p.session.Err(); err != nil {
		t.Errorf("the server: %v", err)
	}
}

// TestRequesterTakeoverRings: a predecessor may have died before it rang the server
// that sleeps.
func TestRequesterTakeoverRings(t *testing.T) {
	p, r := newRequesterPair(t, Geometry{Slots: 1})
	r.Attach()
	p.session.announceSleep()
	rung := p.listen()
	rung()
	r.mine.putWords(p.g.record(0), &Words{1})
	r.mine.publish(p.g.record(0), 1)
	if rung() {
		t.Fatal("rung without a ring")
	}
	p.requester().Attach()
	if !rung() {
		t.Error("nobody rings the server")
	}
}

// TestImpossibleSequenceEndsARequester: what is in the segments cannot come from a
// requester and a server.
func TestImpossibleSequenceEndsARequester(t *testing.T) {
	p, _ := newRequesterPair(t, Geometry{Slots: 2})
	newMemory(p.cmem).publish(p.g.record(1), 7)
	r := p.requester()
	r.Attach()
	if _, ok := r.Submit(&Words{}); ok || !errors.Is(r.Err(), ErrSession) {
		t.Errorf("a request is taken (%v), and the error is %v", ok, r.Err())
	}
}

// TestFullBell: an eventfd that its owner has filled stops nobody who rings it.
func TestFullBell(t *testing.T) {
	p, r := newRequesterPair(t, Geometry{Slots: 1})
	r.Attach()
	if err := unixtest.FillEventfd(p.bell); err != nil {
		t.Fatal(err)
	}
	set := NewSessions()
	set.Add(p.session)
	for i := range uint64(3) {
		r.Sleep()
		r.Submit(&Words{i})
		p.step(set)
		var reply Words
		if _, ok := r.Poll(&reply); !ok || reply[0] != i+1 {
			t.Fatalf("replied %d, %v", reply[0], ok)
		}
	}
}

// TestHostileServerCannotHoldItsRequester: whatever is written into the server's segment,
// a requester returns from every call, with a reply to what it has asked or with none.
func TestHostileServerCannotHoldItsRequester(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	g := Geometry{Slots: 70}
	p, r := newRequesterPair(t, g)
	r.Attach()
	theirs := newMemory(p.smem)
	asked := make(map[int]bool)
	for range 200_000 {
		switch rng.IntN(6) {
		case 0:
			off := rng.IntN(g.ServerBytes()/8) * 8
			if off != offState { // else it is over at once
				theirs.publish(off, rng.Uint64())
			}
		case 1: // a hint that is true of nothing, or of something
			theirs.publish(offDoneBits+8*rng.IntN(2), rng.Uint64())
		case 2:
			slot := rng.IntN(g.Slots)
			theirs.publish(g.record(slot), theirs.load(g.record(slot))+rng.Uint64N(2))
		case 3:
			if slot, ok := r.Submit(&Words{}); ok {
				if asked[slot] {
					t.Fatalf("slot %d is given out twice", slot)
				}
				asked[slot] = true
			}
		case 4:
			var reply Words
			if slot, ok := r.Poll(&reply); ok {
				if !asked[slot] {
					t.Fatalf("slot %d has a reply to nothing", slot)
				}
				delete(asked, slot)
			}
		case 5:
			r.Sleep()
			r.Wake()
		}
		if r.InFlight() != len(asked) {
			t.Fatalf("%d in flight, %d asked", r.InFlight(), len(asked))
		}
	}
	if err := r.Err(); err != nil {
		t.Error(err)
	}
}
