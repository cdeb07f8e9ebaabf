// Package clock measures short spans for loops that cannot afford a call to
// time.Now, and pauses inside them.
//
// Ticks reads the processor's constant-rate counter (TSC on amd64, the virtual
// counter on arm64). Its rate is found by comparing it with the monotonic
// clock since the program's start, so it needs no calibration pause. All
// functions are safe for concurrent use; there are no locks.
package clock

import (
	"sync/atomic"
	"time"
)

// Ticks returns the processor's counter. Its unit is given by ToDuration.
func Ticks() uint64

// Pause tells the processor that the caller is spinning, and is a point at
// which the Go runtime may preempt the caller.
func Pause()

const calibrationMin = time.Millisecond

var (
	startTicks = Ticks()
	startTime  = time.Now()
	// 1/1024 ticks per nanosecond; zero until calibrationMin has passed.
	rate atomic.Uint64
)

func ticksPer1024ns() uint64 {
	if r := rate.Load(); r != 0 {
		return r
	}
	elapsed := time.Since(startTime)
	if elapsed < calibrationMin {
		// A guess (2.5 GHz, or the 1 GHz of recent arm64) serves for the first
		// millisecond of a process.
		return 2560
	}
	r := max((Ticks()-startTicks)*1024/uint64(elapsed), 1)
	if elapsed > 16*calibrationMin {
		rate.Store(r)
	}
	return r
}

// FromDuration returns the number of ticks in d.
func FromDuration(d time.Duration) uint64 {
	return uint64(d) * ticksPer1024ns() / 1024
}

// ToDuration returns the length of a span of ticks.
func ToDuration(ticks uint64) time.Duration {
	return time.Duration(float64(ticks) * 1024 / float64(ticksPer1024ns()))
}
