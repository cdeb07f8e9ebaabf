package bench

import (
	"slices"
	"time"

	"github.com/quintet-os/quintet/internal/clock"
)

// Result is what one run of one side measured. Sides print it as JSON, the C
// programs too.
type Result struct {
	P50       float64 `json:"p50"` // ns a round trip
	P99       float64 `json:"p99"`
	P999      float64 `json:"p999"`
	PerSecond float64 `json:"per_second"` // requests
	Requests  int     `json:"requests"`
}

// medians returns the median over runs of each figure.
func medians(runs []Result) Result {
	pick := func(of func(Result) float64) float64 {
		values := make([]float64, len(runs))
		for i, run := range runs {
			values[i] = of(run)
		}
		return median(values)
	}
	return Result{
		P50:       pick(func(r Result) float64 { return r.P50 }),
		P99:       pick(func(r Result) float64 { return r.P99 }),
		P999:      pick(func(r Result) float64 { return r.P999 }),
		PerSecond: pick(func(r Result) float64 { return r.PerSecond }),
	}
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	switch n := len(sorted); {
	case n == 0:
		return 0
	case n%2 == 1:
		return sorted[n/2]
	default:
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
}

// samplesMax bounds the round trips that are remembered; later ones overwrite
// the first. The C programs have the same bound.
const samplesMax = 1 << 22

// timeRoundTrips calls roundTrip until the time is over, and returns what it
// took. The clock is read once a call, as in the C programs.
func timeRoundTrips(d time.Duration, roundTrip func() error) (Result, error) {
	const warmUp, between = 1000, 64
	samples := make([]uint32, samplesMax)
	for i := range samples {
		samples[i] = 1 // touched now, not while timing
	}
	for range warmUp {
		if err := roundTrip(); err != nil {
			return Result{}, err
		}
	}
	start, first := time.Now(), clock.Ticks()
	last, total := first, 0
	for ; total%between != 0 || total == 0 || time.Since(start) < d; total++ {
		if err := roundTrip(); err != nil {
			return Result{}, err
		}
		now := clock.Ticks()
		samples[total%samplesMax] = uint32(now - last)
		last = now
	}
	elapsed := time.Since(start)
	samples = samples[:min(total, samplesMax)]
	slices.Sort(samples)
	perTick := float64(elapsed.Nanoseconds()) / float64(last-first)
	at := func(thousandths int) float64 { return float64(samples[len(samples)*thousandths/1000]) * perTick }
	return Result{P50: at(500), P99: at(990), P999: at(999), PerSecond: float64(total) / elapsed.Seconds(), Requests: total}, nil
}
