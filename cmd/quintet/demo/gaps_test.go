package demo

import "testing"

func TestGapsOfKills(t *testing.T) {
	const ms = 1_000_000
	kills := []int64{100 * ms, 200 * ms, 300 * ms, 400 * ms}
	got := gapsOfKills(kills, []Gap{
		{50 * ms, 90 * ms},   // before any kill: nobody's
		{99 * ms, 104 * ms},  // the first kill's, 5 ms
		{150 * ms, 151 * ms}, // shorter: no matter
		{290 * ms, 320 * ms}, // overlaps the time after the second and the third, 30 ms
	})
	// By kill: 5, 30, 30, and gapMin for the last.
	if want := (Quantiles{P50: 30, P99: 30, Max: 30}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := gapsOfKills(nil, nil); got != (Quantiles{}) {
		t.Errorf("without kills: %+v", got)
	}
	if got := gapsOfKills(kills, nil); got.Max != float64(gapMin)/ms {
		t.Errorf("without gaps: %+v", got)
	}
}
