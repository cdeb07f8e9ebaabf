package ipc

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
)

// queueFor starts n calls that find no slot, and returns when all of them queue.
func queueFor(ctx context.Context, c *Client, n int) <-chan error {
	errs := make(chan error, n)
	for range n {
		go func() { errs <- c.Call(ctx, &Words{}, nil) }()
	}
	for int(c.queue.length.Load()) != n {
		runtime.Gosched()
	}
	return errs
}

// TestEndOfTheSessionReachesTheQueue: nobody waits for the calls in flight, so
// those who wait for a slot must see by themselves that the server has ended
// the session.
func TestEndOfTheSessionReachesTheQueue(t *testing.T) {
	p := newPair(t, Geometry{Slots: 1})
	if _, err := p.client.Start(t.Context(), &Words{}); err != nil {
		t.Fatal(err)
	}
	errs := queueFor(t.Context(), p.client, 3)
	p.session.Fail(ReasonRevoked, "by the test")
	p.session.WakeClient()
	for range 3 {
		if err := <-errs; !errors.Is(err, ErrSession) {
			t.Errorf("waiting for a slot of an ended session gave %v", err)
		}
	}
}

// TestCanceledInTheQueue: who gives up his place in the queue takes nobody's slot.
func TestCanceledInTheQueue(t *testing.T) {
	p := newPair(t, Geometry{Slots: 1})
	k, err := p.client.Start(t.Context(), &Words{})
	if err != nil {
		t.Fatal(err)
	}
	patient := queueFor(t.Context(), p.client, 1)
	for range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		errs := make(chan error)
		go func() { errs <- p.client.Call(ctx, &Words{}, nil) }()
		for p.client.queue.length.Load() != 2 {
			runtime.Gosched()
		}
		cancel()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Fatalf("giving up gave %v", err)
		}
	}
	serve(t, 0, p.session)
	if err := errors.Join(k.Wait(t.Context(), nil), <-patient); err != nil {
		t.Error(err)
	}
	if n := p.client.queue.length.Load(); n != 0 || p.client.Inspect().Parked != 0 {
		t.Errorf("%d are left in the queue, %d parked", n, p.client.Inspect().Parked)
	}
}

// TestCrowdAtOneSlot has many more callers than slots, some of whom give up.
func TestCrowdAtOneSlot(t *testing.T) {
	for _, slots := range []int{1, 3} {
		p := newPair(t, Geometry{Slots: slots})
		serve(t, 0, p.session)
		var wg sync.WaitGroup
		for g := range 24 {
			wg.Go(func() {
				for i := range uint64(200) {
					ctx, cancel := context.WithCancel(t.Context())
					if g%4 == 0 {
						go cancel()
					}
					var got Words
					err := p.client.Call(ctx, &Words{i}, &got)
					cancel()
					if err == nil && got[0] != i+1 || err != nil && (g%4 != 0 || !errors.Is(err, context.Canceled)) {
						t.Errorf("asked with %d, got %d, %v", i, got[0], err)
						return
					}
				}
			})
		}
		wg.Wait()
		for p.client.Inspect().InFlight != 0 || p.client.Inspect().Parked != 0 { // abandoned ones
			runtime.Gosched()
		}
	}
}

// TestRoomInAFullRingKeepsTheServerAwake: room made between the server's look and
// its announcement of sleep must not be slept through.
func TestRoomInAFullRingKeepsTheServerAwake(t *testing.T) {
	p := ringPair(t, 4)
	set := NewSessions()
	set.Add(p.session)
	in := p.session.In(0)
	for in.Push(&Descriptor{}) {
	}
	in.Publish()
	set.Cool(1, 0)
	set.Wake(p.session)
	if in.Free() != 0 {
		t.Fatal("room in a full ring")
	}
	var d Descriptor
	p.client.In(0).Pop(&d)
	p.client.In(0).Commit() // does not ring: the server is awake
	if set.Cool(2, 0) != 1 {
		t.Fatal("the server sleeps although there is room in the ring")
	}
	if set.Cool(3, 0) != 0 {
		t.Error("a server that makes no use of the room never sleeps")
	}
}

// TestBrokenRingDoesNotSpinItsClient: a client that waits for a ring whose
// indices make no sense is told so, instead of being woken for ever.
func TestBrokenRingDoesNotSpinItsClient(t *testing.T) {
	for name, off := range map[string]int{"tail": Geometry{}.inIndex(0), "head": Geometry{}.outIndex(0)} {
		t.Run(name, func(t *testing.T) {
			p := ringPair(t, 4)
			for p.client.Out(0).Push(&Descriptor{}) {
			}
			p.client.Out(0).Publish()
			p.session.server.announce(off, 77)
			p.client.In(0).Available()
			p.client.Out(0).Free()
			var ended *SessionError
			if err := p.client.WaitRings(t.Context()); !errors.As(err, &ended) || ended.Reason != ReasonRing {
				t.Errorf("WaitRings gave %v", err)
			}
		})
	}
}
