package linktest

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/quintet-os/quintet/network/link"
)

const (
	impairFrames = 5000
	interval     = 10 * time.Microsecond // between frames, in virtual time
)

type arrival struct {
	number uint32
	at     time.Duration
}

// run sends numbered frames over an impaired cable, in virtual time.
func run(t *testing.T, what Impairment, seed uint64) (arrivals []arrival) {
	t.Helper()
	var now time.Duration
	near, far := NewPipe(1500)
	bad := Impair(near, Impairment{}, what, seed, func() time.Duration { return now })
	for number := uint32(0); ; number++ {
		if number < impairFrames {
			if n, err := bad.Transmit([]link.Frame{Plain(Inside, number, 60)}); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		} else if at, ok := bad.Due(); ok {
			now = max(now, at)
			if err := bad.Flush(); err != nil {
				t.Fatal(err)
			}
		} else {
			return arrivals
		}
		var frames [link.BatchMax]link.Frame
		for n := -1; n != 0; {
			n, _ = far.Receive(frames[:])
			for _, f := range frames[:n] {
				arrivals = append(arrivals, arrival{binary.BigEndian.Uint32(f.Head[plainNumber:]), now})
			}
		}
		now += interval
	}
}

func TestImpairments(t *testing.T) {
	const seed = 7
	counted := func(a []arrival) (counts map[uint32]int, inversions int) {
		counts = make(map[uint32]int)
		for i, x := range a {
			counts[x.number]++
			if i > 0 && x.number < a[i-1].number {
				inversions++
			}
		}
		return counts, inversions
	}
	within := func(t *testing.T, what string, got int, chance float64) {
		t.Helper()
		if want := chance * impairFrames; float64(got) < want*0.8 || float64(got) > want*1.2 {
			t.Errorf("%d frames %s, about %.0f were expected", got, what, want)
		}
	}
	t.Run("none", func(t *testing.T) {
		a := run(t, Impairment{}, seed)
		if counts, inversions := counted(a); len(counts) != impairFrames || len(a) != impairFrames || inversions != 0 {
			t.Errorf("%d frames, %d in the wrong order", len(a), inversions)
		}
	})
	t.Run("loss", func(t *testing.T) {
		a := run(t, Impairment{Loss: 0.1}, seed)
		_, inversions := counted(a)
		if within(t, "were lost", impairFrames-len(a), 0.1); inversions != 0 {
			t.Errorf("%d in the wrong order", inversions)
		}
	})
	t.Run("duplicate", func(t *testing.T) {
		a := run(t, Impairment{Duplicate: 0.1}, seed)
		if counts, _ := counted(a); len(counts) != impairFrames {
			t.Errorf("%d different frames", len(counts))
		}
		within(t, "came twice", len(a)-impairFrames, 0.1)
	})
	t.Run("reorder", func(t *testing.T) {
		a := run(t, Impairment{Reorder: 0.1, HoldUp: 5 * interval}, seed)
		counts, inversions := counted(a)
		if within(t, "were overtaken", inversions, 0.1); len(counts) != impairFrames || len(a) != impairFrames {
			t.Errorf("%d frames, %d different ones", len(a), len(counts))
		}
	})
	t.Run("delay", func(t *testing.T) {
		what := Impairment{Delay: 20 * interval, Jitter: 10 * interval}
		a := run(t, what, seed)
		for i, x := range a {
			sent := time.Duration(x.number) * interval
			if int(x.number) != i || x.at < sent+what.Delay || x.at > sent+what.Delay+what.Jitter+interval {
				t.Fatalf("frame %d, sent at %v, came as number %d at %v", x.number, sent, i, x.at)
			}
		}
		if len(a) != impairFrames {
			t.Errorf("%d frames", len(a))
		}
	})
	t.Run("the seed decides", func(t *testing.T) {
		all := Impairment{Loss: 0.05, Duplicate: 0.05, Reorder: 0.05, HoldUp: 7 * interval, Delay: interval, Jitter: interval}
		a := run(t, all, seed)
		if !slices.Equal(a, run(t, all, seed)) || slices.Equal(a, run(t, all, seed+1)) {
			t.Error("a run cannot be repeated, or the seed does not matter")
		}
	})
}
