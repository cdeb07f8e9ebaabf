package demo

import "testing"

func TestGapsOfKills(t *testing.T) {
	const ms = 1_000_000
	kills := []killing{{100 * ms, true}, {200 * ms, true}, {300 * ms, false}, {400 * ms, true}}
	got, cold, colds := gapsOfKills(kills, []Gap{
		{50 * ms, 90 * ms},   // before any kill: nobody's
		{99 * ms, 104 * ms},  // the first kill's, 5 ms
		{150 * ms, 151 * ms}, // shorter: no matter
		{290 * ms, 320 * ms}, // overlaps the time after the second and the third, 30 ms
	})
	// By kill: 5, 30, 30, and gapMin for the last.
	if want := (Quantiles{P50: 5, P99: 30, Max: 30}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if want := (Quantiles{P50: 30, P99: 30, Max: 30}); cold != want || colds != 1 {
		t.Errorf("without a warm standby: got %+v of %d, want %+v of 1", cold, colds, want)
	}
	if got, cold, colds := gapsOfKills(nil, nil); got != (Quantiles{}) || cold != (Quantiles{}) || colds != 0 {
		t.Errorf("without kills: %+v, %+v, %d", got, cold, colds)
	}
	if got, _, _ := gapsOfKills(kills, nil); got.Max != float64(gapMin)/ms {
		t.Errorf("without gaps: %+v", got)
	}
}

// TestEachServerIsKilledCold: as often as is said, whichever server it is.
func TestEachServerIsKilledCold(t *testing.T) {
	for _, servers := range [][]string{{"a"}, {"a", "b"}} {
		kills, colds := map[string]int{}, map[string]int{}
		for turn := range 3 * coldTurns * len(servers) {
			server, cold := victim(servers, turn)
			if kills[server]++; cold {
				colds[server]++
			}
		}
		for _, server := range servers {
			if kills[server] != 3*coldTurns || colds[server] != 3 {
				t.Errorf("of %v, %s is killed %d times, %d of them cold", servers, server, kills[server], colds[server])
			}
		}
	}
}
