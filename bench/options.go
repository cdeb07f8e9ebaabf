package bench

import (
	"fmt"
	"io"
	"time"
)

const (
	roundsDefault   = 5
	durationDefault = time.Second
)

// Options say how long and how often to measure.
type Options struct {
	// Rounds is how often both sides run, in turn; 0 means 5.
	Rounds int
	// Duration is the length of one run of one side; 0 means one second.
	Duration time.Duration
	// Progress is told what is being measured, a line each; nil is silent.
	Progress io.Writer
}

func (o Options) withDefaults() Options {
	if o.Rounds <= 0 {
		o.Rounds = roundsDefault
	}
	if o.Duration <= 0 {
		o.Duration = durationDefault
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	return o
}

func (o Options) say(format string, args ...any) {
	fmt.Fprintf(o.Progress, format+"\n", args...)
}
