package ipc

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
)

// echo answers each request with its own words, the first one increased.
type echo struct{ sessions *Sessions }

func (e *echo) Step(time.Duration) (worked bool) {
	for _, s := range e.sessions.Active() {
		for {
			r, ok := s.Next()
			if !ok {
				break
			}
			worked = true
			s.Begin(r.Slot)
			r.Words[0]++
			s.Reply(r.Slot, &r.Words)
		}
	}
	return worked
}

type pair struct {
	t          testing.TB
	g          Geometry
	cmem, smem []byte
	doorbell   int
	bell       int // of a requester; 0: there is none
	client     *Client
	session    *Session
}

func newPair(t testing.TB, g Geometry) *pair {
	t.Helper()
	p := &pair{t: t, g: g, cmem: heap(g.ClientBytes()), smem: heap(g.ServerBytes())}
	var err error
	if p.doorbell, err = unix.CreateEventfd(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(p.doorbell) })
	if err := errors.Join(FormatClient(p.cmem, g), FormatServer(p.smem, g)); err != nil {
		t.Fatal(err)
	}
	if p.client, err = NewClient(ClientConfig{Geometry: g, Client: p.cmem, Server: p.smem, Doorbell: p.doorbell}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.client.Close() })
	p.session = p.attach(1)
	return p
}

// attach plays a new server taking the session over.
func (p *pair) attach(generation uint64) *Session {
	p.t.Helper()
	s, err := NewSession(SessionConfig{ID: 1, Geometry: p.g, Client: p.cmem, Server: p.smem, Doorbell: p.doorbell, Bell: p.bell})
	if err != nil {
		p.t.Fatal(err)
	}
	s.Attach(generation)
	return s
}

// serve runs an echo server over the sessions until stop is called.
func serve(t testing.TB, spin time.Duration, sessions ...*Session) (stop func()) {
	t.Helper()
	set := NewSessions()
	return run(t, LoopConfig{Core: &echo{set}, Sessions: set, Spin: spin}, sessions)
}

// run runs a loop over the sessions until stop is called.
func run(t testing.TB, cfg LoopConfig, sessions []*Session, awaited ...*Requester) (stop func()) {
	t.Helper()
	l, err := NewLoop(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range awaited {
		if err := l.Await(r); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range sessions {
		if err := l.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := errors.Join(<-done, l.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func TestEcho(t *testing.T) {
	for _, slots := range []int{1, 2, 63, 64, 65, SlotsMax} {
		for _, callers := range []int{1, 3, 40} {
			for _, spin := range []time.Duration{-1, 0} {
				t.Run(fmt.Sprintf("slots=%d/callers=%d/spin=%d", slots, callers, spin), func(t *testing.T) {
					t.Parallel()
					p := newPair(t, Geometry{Slots: slots})
					serve(t, spin, p.session)
					var wg sync.WaitGroup
					for g := range callers {
						wg.Go(func() {
							for i := range 300 {
								req := Words{uint64(g)<<32 | uint64(i), uint64(g), 6: uint64(i)}
								var got Words
								if err := p.client.Call(t.Context(), &req, &got); err != nil {
									t.Error(err)
									return
								}
								req[0]++
								if got != req {
									t.Errorf("sent %v, got %v", req, got)
									return
								}
							}
						})
					}
					wg.Wait()
					if in := p.client.Inspect(); in.InFlight != 0 || in.Parked != 0 || in.Err != nil {
						t.Errorf("after the last reply: %+v", in)
					}
				})
			}
		}
	}
}

func TestCancelledCallKeepsItsSlot(t *testing.T) {
	p := newPair(t, Geometry{Slots: 1})
	ctx, cancel := context.WithCancel(t.Context())
	k, err := p.client.Start(ctx, &Words{7})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := k.Wait(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("waiting without a server gave %v", err)
	}
	released := make(chan struct{})
	k.Abandon(func() { close(released) })
	if _, err := p.client.Start(ctx, &Words{8}); !errors.Is(err, context.Canceled) {
		t.Fatalf("the slot of an abandoned call was handed out: %v", err)
	}
	select {
	case <-released:
		t.Fatal("released before the reply")
	default:
	}
	serve(t, 0, p.session)
	<-released
	var got Words
	if err := p.client.Call(t.Context(), &Words{8}, &got); err != nil || got[0] != 9 {
		t.Fatalf("after the late reply: %v, %v", got, err)
	}
}

func TestCloseWakesEverybody(t *testing.T) {
	p := newPair(t, Geometry{Slots: 4})
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if err := p.client.Call(t.Context(), &Words{}, nil); !errors.Is(err, ErrClosed) {
				t.Errorf("a call on a closed session gave %v", err)
			}
		})
	}
	for p.client.Inspect().InFlight != 4 {
		runtime.Gosched()
	}
	p.client.Close()
	wg.Wait()
	if err := p.client.Call(t.Context(), &Words{}, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("a call after Close gave %v", err)
	}
}

func TestBrokenSequenceEndsOnlyThatSession(t *testing.T) {
	bad, good := newPair(t, Geometry{Slots: 8}), newPair(t, Geometry{Slots: 8})
	good.session.ID = 2
	serve(t, 0, bad.session, good.session)
	bad.client.mine.publish(bad.g.record(3), 17)
	bad.client.mine.toggle(offSubmitBits, 3, 17)
	var err error
	for err == nil { // replies may come before the server looks at that slot
		err = bad.client.Call(t.Context(), &Words{}, nil)
	}
	var sessionErr *SessionError
	if !errors.As(err, &sessionErr) || sessionErr.Reason != ReasonSequence {
		t.Errorf("the violator got %v", err)
	}
	if err := good.client.Call(t.Context(), &Words{}, nil); err != nil {
		t.Errorf("the neighbour got %v", err)
	}
}

func TestSuccessorAnswersWhatTheDeadServerDidNot(t *testing.T) {
	p := newPair(t, Geometry{Slots: 70})
	var calls []*Call
	for i := range 70 {
		k, err := p.client.Start(t.Context(), &Words{uint64(i)})
		if err != nil {
			t.Fatal(err)
		}
		calls = append(calls, k)
	}
	for i := range 30 { // all begun; every third executed, every sixth answered
		r, ok := p.session.Next()
		if !ok {
			t.Fatalf("no request %d", i)
		}
		p.session.Begin(r.Slot)
		if i%3 == 0 {
			p.session.Execute(r.Slot)
		}
		p.session.Park(r.Slot)
		if i%5 == 0 {
			p.session.Begin(r.Slot)
		}
		if i%6 == 0 {
			p.session.Reply(r.Slot, &Words{r.Words[0] + 1})
		}
	}
	s := p.attach(2)
	replayed, started := 0, 0
	for {
		r, ok := s.NextStarted()
		if !ok {
			break
		}
		want := 0
		if r.Words[0]%5 == 0 {
			want = 1
		}
		if !r.Replayed || !r.Started || r.Attempts != want {
			t.Errorf("a request started by the dead server came as %+v, want %d attempts", r, want)
		}
		started++
		s.Begin(r.Slot)
		s.Reply(r.Slot, &Words{r.Words[0] + 1})
	}
	for {
		r, ok := s.Next()
		if !ok {
			break
		}
		if r.Replayed && !r.Started {
			replayed++
		}
		s.Begin(r.Slot)
		s.Reply(r.Slot, &Words{r.Words[0] + 1})
	}
	if started != 5 || replayed != 60 {
		t.Errorf("replayed %d started and %d other requests, want 5 and 60", started, replayed)
	}
	for i, k := range calls {
		var got Words
		if err := k.Wait(t.Context(), &got); err != nil || got[0] != uint64(i)+1 {
			t.Errorf("request %d: reply %v, %v", i, got, err)
		}
	}
}

func TestRingsCarryInOrderAndPushBack(t *testing.T) {
	p := newPair(t, Geometry{Slots: 1, RingsOut: 1, RingsIn: 1, RingEntries: 8})
	const total = 5000
	// The server sends back what comes, and a new server takes over now and then.
	done := make(chan struct{})
	go func() {
		defer close(done)
		s := p.session
		for n := 0; n < total; {
			moved := 0
			var d Descriptor
			for s.In(0).Free() > 0 && s.Out(0).Pop(&d) {
				s.In(0).Push(&d)
				n++
				moved++
			}
			s.In(0).Publish()
			s.Out(0).Commit()
			s.WakeClient()
			if s.checkRings(); s.Err() != nil {
				t.Error(s.Err())
				return
			}
			if moved > 0 && n%97 == 0 {
				s = p.attach(uint64(n))
			}
		}
	}()
	sent, got := uint64(0), uint64(0)
	for got < total {
		for sent < total && p.client.Out(0).Push(&Descriptor{sent, sent * 3}) {
			sent++
		}
		p.client.Out(0).Publish()
		var d Descriptor
		for p.client.In(0).Pop(&d) {
			if d != (Descriptor{got, got * 3}) {
				t.Fatalf("descriptor %d is %v", got, d)
			}
			got++
		}
		p.client.In(0).Commit()
		if got < total {
			if err := p.client.WaitRings(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	<-done
}
