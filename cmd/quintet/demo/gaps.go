package demo

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Gap is a time in which an application waited and nothing was completed, in
// nanoseconds since 1970.
type Gap struct {
	From int64 `json:"f"`
	To   int64 `json:"t"`
}

// gaps records the completion gaps of one application.
type gaps struct {
	mu       sync.Mutex
	inFlight int
	last     time.Time // completion, or the beginning of the only request in flight
	recorded []Gap
}

func (g *gaps) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inFlight == 0 {
		g.last = time.Now()
	}
	g.inFlight++
}

func (g *gaps) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if now.Sub(g.last) >= gapMin && len(g.recorded) < gapsMax {
		g.recorded = append(g.recorded, Gap{g.last.UnixNano(), now.UnixNano()})
	}
	g.last = now
	g.inFlight--
}

// Quantiles are of the gaps of all kills, in milliseconds.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// killing is one kill: when, in nanoseconds since 1970, and whether a warm standby was
// there.
type killing struct {
	at   int64
	warm bool
}

// gapsOfKills returns for each kill the longest gap that overlaps the time to the next
// kill: those of kills with a warm standby, and those of the others, of which there are
// colds.
func gapsOfKills(kills []killing, recorded []Gap) (warm, cold Quantiles, colds int) {
	longest := make([]int64, len(kills))
	for i := range longest {
		longest[i] = int64(gapMin)
	}
	for _, g := range recorded {
		// The kills from the last one before the gap to the last one in it.
		first, exact := slices.BinarySearchFunc(kills, g.From, func(k killing, at int64) int { return cmp.Compare(k.at, at) })
		if !exact && first > 0 {
			first--
		}
		for i := first; i < len(kills) && kills[i].at < g.To; i++ {
			longest[i] = max(longest[i], g.To-g.From)
		}
	}
	var warms, others []int64
	for i, k := range kills {
		if k.warm {
			warms = append(warms, longest[i])
		} else {
			others = append(others, longest[i])
		}
	}
	return quantiles(warms), quantiles(others), len(others)
}

func quantiles(longest []int64) Quantiles {
	if len(longest) == 0 {
		return Quantiles{}
	}
	slices.Sort(longest)
	at := func(q float64) float64 {
		return float64(longest[min(int(q*float64(len(longest))), len(longest)-1)]) / 1e6
	}
	return Quantiles{P50: at(0.50), P99: at(0.99), Max: at(1)}
}
