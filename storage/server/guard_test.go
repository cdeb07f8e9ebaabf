package server

import (
	"math/rand/v2"
	"testing"

	"github.com/quintet-os/quintet/storage"
)

// TestGuardMatchesPairwiseComparison compares the guard with the obvious list of
// all unanswered requests, over random ranges, narrow and wide, near bucket
// borders and anywhere.
func TestGuardMatchesPairwiseComparison(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	var g guard
	var live []*task                   // in the order of their adding
	earlier := make(map[*task][]*task) // conflicting, not yet removed
	for step := range 20_000 {
		if len(live) > 0 && random.IntN(2) == 0 || len(live) == 200 {
			// Only what waits for nothing can be answered.
			t0 := live[random.IntN(len(live))]
			if t0.blockers > 0 {
				continue
			}
			freed := make(map[*task]bool)
			g.remove(t0, func(f *task) { freed[f] = true })
			kept := live[:0]
			for _, other := range live {
				if other != t0 {
					kept = append(kept, other)
				}
			}
			live = kept
			for other, list := range earlier {
				rest := without(list, t0)
				earlier[other] = rest
				if len(rest) < len(list) && (len(rest) == 0) != freed[other] {
					t.Fatalf("seed %d, step %d: freed=%v with %d conflicts left", seed, step, freed[other], len(rest))
				}
			}
			delete(earlier, t0)
			continue
		}
		t0 := &task{request: randomRange(random)}
		for _, other := range live {
			if conflict(&other.request, &t0.request) {
				earlier[t0] = append(earlier[t0], other)
			}
		}
		g.add(t0)
		live = append(live, t0)
		if t0.blockers != len(earlier[t0]) {
			t.Fatalf("seed %d, step %d: %+v waits for %d, want %d", seed, step, t0.request, t0.blockers, len(earlier[t0]))
		}
	}
}

func randomRange(random *rand.Rand) storage.Request {
	r := storage.Request{Op: storage.OpRead + storage.Op(random.IntN(2)), Offset: random.Int64N(1<<12) << 12, Length: (1 + random.Int64N(256)) << 12}
	switch random.IntN(10) {
	case 0:
		r.Op, r.Length = storage.OpDiscard, (1+random.Int64N(1<<12))<<12
	case 1, 2:
		r.Offset += guardBuckets << guardBucketBits // the same buckets, another place
	case 3, 4:
		r.Offset = random.Int64N(20)<<guardBucketBits - 1<<12 // across a border
		r.Offset = max(r.Offset, 0)
	}
	return r
}
