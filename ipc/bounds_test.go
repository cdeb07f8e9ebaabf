package ipc

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
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

// A client that rings for nothing is heard seldom, and served all the same; when it has
// stopped, it is left alone.
func TestRingingForNothing(t *testing.T) {
	p := newPair(t, Geometry{Slots: 8})
	set := NewSessions()
	core := &counted{echo: echo{set}}
	l, err := NewLoop(LoopConfig{Core: core, Sessions: set, Spin: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Add(p.session); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	began := time.Now()
	for i := range 100_000 {
		if err := unix.Ring(p.doorbell); err != nil {
			t.Fatal(err)
		}
		if i%20_000 != 0 {
			continue
		}
		var answer Words
		if err := p.client.Call(t.Context(), &Words{7}, &answer); err != nil || answer[0] != 8 {
			t.Fatalf("a client that rings for nothing gets %d, %v", answer[0], err)
		}
	}
	lasted := time.Since(began)
	heard := core.steps.Load()
	// A few steps for each time it is heard, be it muted or not: vainMax times, after each
	// request, and half as often after each time it was muted.
	if bound := int64(4 * vainMax * (8 + int(lasted/muteFor))); heard > bound {
		t.Errorf("the server has made %d steps in %v, want no more than %d", heard, lasted, bound)
	}
	before := core.steps.Load()
	<-time.After(20 * muteFor) // nothing to wait for: it is that nothing happens
	if after := core.steps.Load(); after-before > 4*vainMax {
		t.Errorf("the server has made %d steps with nothing to do", after-before)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := l.Remove(p.session); err != nil {
		t.Error(err)
	}
}

// counted counts the steps of a core.
type counted struct {
	echo
	steps atomic.Int64
}

func (c *counted) Step(now time.Duration) bool {
	c.steps.Add(1)
	return c.echo.Step(now)
}
