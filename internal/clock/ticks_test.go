package clock

import (
	"testing"
	"time"
)

func TestTicksGoForward(t *testing.T) {
	last := Ticks()
	for range 10_000 {
		now := Ticks()
		if now < last {
			t.Fatalf("the counter went back from %d to %d", last, now)
		}
		last = now
		Pause()
	}
}

func TestDurationsRoundTrip(t *testing.T) {
	for time.Since(startTime) < 20*calibrationMin {
		Pause()
	}
	for _, d := range []time.Duration{time.Microsecond, 50 * time.Microsecond, time.Second, time.Hour} {
		got := ToDuration(FromDuration(d))
		if diff := (got - d).Abs(); diff > d/100+time.Nanosecond*2 {
			t.Errorf("%v came back as %v", d, got)
		}
	}
}
