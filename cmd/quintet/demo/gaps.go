package demo

import (
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

// gapsOfKills returns for each kill the longest gap that overlaps the time to
// the next kill.
func gapsOfKills(kills []int64, recorded []Gap) Quantiles {
	if len(kills) == 0 {
		return Quantiles{}
	}
	longest := make([]int64, len(kills))
	for i := range longest {
		longest[i] = int64(gapMin)
	}
	for _, g := range recorded {
		// The kills from the last one before the gap to the last one in it.
		first, exact := slices.BinarySearch(kills, g.From)
		if !exact && first > 0 {
			first--
		}
		for i := first; i < len(kills) && kills[i] < g.To; i++ {
			longest[i] = max(longest[i], g.To-g.From)
		}
	}
	slices.Sort(longest)
	at := func(q float64) float64 {
		return float64(longest[min(int(q*float64(len(longest))), len(longest)-1)]) / 1e6
	}
	return Quantiles{P50: at(0.50), P99: at(0.99), Max: at(1)}
}
