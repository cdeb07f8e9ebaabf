//go:build !race

package ipc

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
)

// scribbler writes into a segment until stop is called, as a hostile peer would
// on a processor of its own. Built without the race detector, which would
// rightly complain.
func scribbler(t *testing.T, mem []byte, g Geometry) (stop func()) {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("scribbler's seed: %d", seed)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		rng := rand.New(rand.NewPCG(seed, 0))
		for ctx.Err() == nil {
			r := rng.Uint32()
			scribble(mem, g, [4]byte{byte(r), byte(r >> 8), byte(r >> 16), byte(r >> 24)})
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// TestScribblingClientHarmsNobody runs a server whose one client writes anything
// anywhere while the other works, and a successor that finds the same.
func TestScribblingClientHarmsNobody(t *testing.T) {
	for range 10 {
		bad, good := newPair(t, hostileGeometry), newPair(t, hostileGeometry)
		bad.session.ID, good.session.ID = 1, 2
		kill := serve(t, 0, bad.session, good.session)
		stop := scribbler(t, bad.cmem, bad.g)
		for i := range uint64(300) {
			var got Words
			if err := good.client.Call(t.Context(), &Words{i, i}, &got); err != nil || got != (Words{i + 1, i}) {
				t.Fatalf("the neighbour asked with %d and got %v, %v", i, got, err)
			}
		}
		kill()
		// Successors can take over what is left of both, and let go of it in every state.
		set := NewSessions()
		bad.session = bad.attach(2)
		set.Add(bad.session)
		good.session = good.attach(2)
		good.session.ID = 2
		set.Add(good.session)
		for i := range 200 {
			r := rand.Uint32()
			disturb(t, bad, set, [4]byte{byte(r), byte(r >> 8), byte(r >> 16), byte(i)})
			set.Cool(uint64(i), 1)
			if err := bad.session.Err(); err != nil && !errors.Is(err, ErrSession) {
				t.Fatal(err)
			}
		}
		if good.session.Err() != nil {
			t.Fatal(good.session.Err())
		}
		stop()
	}
}

// TestScribblingServerCannotHoldItsClient runs callers whose server writes
// anything anywhere. They may get any reply or an error, but they all come back
// when they give up, and so does Close.
func TestScribblingServerCannotHoldItsClient(t *testing.T) {
	for range 4 {
		p := newPair(t, hostileGeometry)
		honest := newPair(t, hostileGeometry) // shares the waiter
		serve(t, 0, honest.session)
		stop := scribbler(t, p.smem, p.g)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for ctx.Err() == nil {
					err := p.client.Call(ctx, &Words{}, &Words{})
					if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, ErrSession) {
						t.Errorf("a call gave %v", err)
						return
					}
				}
			})
		}
		for i := range uint64(200) {
			var got Words
			if err := honest.client.Call(t.Context(), &Words{i, i}, &got); err != nil || got != (Words{i + 1, i}) {
				t.Errorf("the session of an honest server got %v, %v", got, err)
				break
			}
		}
		cancel()
		wg.Wait()
		stop()
		p.client.Close()
	}
}
