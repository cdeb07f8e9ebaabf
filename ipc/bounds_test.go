package ipc

import (
	"context"
	"testing"
	"time"
)

// A client that toggles bits for nothing has few of its slots looked at in a turn, and
// what it asks for in earnest is found all the same.
func TestBitsForNothing(t *testing.T) {
	p := newPair(t, Geometry{Slots: SlotsMax})
	call, err := p.client.Start(context.Background(), new(Words))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := p.session.Next(); !ok {
		t.Fatal("a request is not found")
	}
	second, err := p.client.Start(context.Background(), new(Words))
	if err != nil {
		t.Fatal(err)
	}
	own := p.client.mine
	for w := range p.session.words {
		own.announce(offSubmitBits+w*8, ^uint64(0))
	}
	turns := 0
	for {
		r, ok := p.session.Next()
		if ok {
			if r.Seq != 1 {
				t.Errorf("slot %d has request %d", r.Slot, r.Seq)
			}
			break
		}
		if turns++; turns > 2*SlotsMax/hintsMax { // the turn that has begun, and a whole one
			t.Fatalf("a request is not found in %d turns", turns)
		}
	}
	if turns == 0 {
		t.Error("one turn looks at every slot")
	}
	for range SlotsMax {
		if _, ok := p.session.Next(); ok {
			t.Fatal("there is nothing more to be found")
		}
	}
	_, _ = call, second // answered by nobody
}

// steps is a core that counts.
type steps struct{ n int }

func (s *steps) Step(time.Duration) bool {
	s.n++
	return false
}

// However much is posted at once, the sessions get their steps in between.
func TestPostedFunctionsTakeTurnsWithSteps(t *testing.T) {
	const posts = 1000
	core := &steps{}
	l, err := NewLoop(LoopConfig{Core: core, Sessions: NewSessions()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	in := make(map[int]int) // functions, by the step before
	for i := range posts {
		l.Post(func() {
			in[core.n]++
			if i == posts-1 {
				cancel()
			}
		})
	}
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	all := 0
	for step, n := range in {
		if all += n; n > postedMax {
			t.Errorf("%d functions were called after step %d", n, step)
		}
	}
	if all != posts {
		t.Errorf("%d of %d functions were called", all, posts)
	}
}
