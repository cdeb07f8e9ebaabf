package share_test

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/quintet-os/quintet/internal/share"
)

// take fills places and returns them.
func take(p *share.Pool[string], owner string, n int, evicted *int) (all []*share.Place[string]) {
	for range n {
		if place := p.Take(owner, func() { *evicted++ }); place != nil {
			all = append(all, place)
		}
	}
	return all
}

func TestTheNewestOfTheGreediestPays(t *testing.T) {
	p := share.NewPool[string](10)
	var greedy, modest int
	take(p, "greedy", 20, &greedy)
	if p.Of("greedy") != 10 || greedy != 0 {
		t.Fatalf("one owner alone has %d of 10 places and lost %d", p.Of("greedy"), greedy)
	}
	take(p, "modest", 20, &modest)
	if p.Of("greedy") != 5 || p.Of("modest") != 5 || greedy != 5 || modest != 0 {
		t.Errorf("%d and %d places, %d and %d taken away", p.Of("greedy"), p.Of("modest"), greedy, modest)
	}
	if got := take(p, "greedy", 20, &greedy); len(got) != 0 || modest != 0 {
		t.Error("equal owners take each other's places")
	}
	take(p, "third", 1, new(int))
	if p.Of("third") != 1 || p.Taken() != 10 {
		t.Errorf("a third owner has %d of %d places", p.Of("third"), p.Taken())
	}
}

func TestTheOldestPlacesStay(t *testing.T) {
	p := share.NewPool[int](4)
	lost := make(map[int]bool)
	for i := range 4 {
		p.Take(1, func() { lost[i] = true })
	}
	p.Take(2, nil)
	if len(lost) != 1 || !lost[3] {
		t.Errorf("lost %v, want the newest", lost)
	}
}

func TestLeavingTwiceAndAfterAnEviction(t *testing.T) {
	p := share.NewPool[int](2)
	evictions := 0
	first := p.Take(1, func() { evictions++ })
	var second *share.Place[int]
	second = p.Take(1, func() { evictions++; second.Leave() })
	p.Take(2, nil)
	first.Leave()
	first.Leave()
	second.Leave()
	if evictions != 1 || p.Taken() != 1 || p.Of(1) != 0 {
		t.Errorf("%d evictions, %d places taken, %d of them by the first", evictions, p.Taken(), p.Of(1))
	}
}

// Whatever many owners do at once, the bound holds and the count is right at the end.
func TestManyOwners(t *testing.T) {
	const limit = 64
	p := share.NewPool[int](limit)
	var all sync.WaitGroup
	for owner := range 8 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(owner), 1))
			var held []*share.Place[int]
			for range 2000 {
				if place := p.Take(owner%4, func() {}); place != nil {
					held = append(held, place)
				}
				if n := p.Taken(); n > limit {
					t.Errorf("%d of %d places are taken", n, limit)
				}
				for len(held) > 0 && r.IntN(3) == 0 {
					held[len(held)-1].Leave()
					held = held[:len(held)-1]
				}
			}
			for _, place := range held {
				place.Leave()
			}
		})
	}
	all.Wait()
	if p.Taken() != 0 {
		t.Errorf("%d places are taken by nobody", p.Taken())
	}
}
