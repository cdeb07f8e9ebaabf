package bench

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
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
	// Only names the parts to run; empty runs all.
	Only []string
	// Dir holds the file that storage is measured on; empty means the directory
	// for temporary files. Its file system must support O_DIRECT.
	Dir string
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

// part is a group of benchmarks that can be chosen by name.
type part struct {
	name string
	run  func(context.Context) ([]Row, error)
}

// run runs the chosen parts. After an error it returns the rows so far.
func (o Options) run(ctx context.Context, parts []part) (rows []Row, err error) {
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = p.name
	}
	for _, name := range o.Only {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("no benchmark %q; there are %s", name, strings.Join(names, ", "))
		}
	}
	for _, p := range parts {
		if len(o.Only) > 0 && !slices.Contains(o.Only, p.name) {
			continue
		}
		more, err := p.run(ctx)
		rows = append(rows, more...)
		if err != nil {
			return rows, fmt.Errorf("benchmark %s: %w", p.name, err)
		}
	}
	return rows, nil
}

func (o Options) say(format string, args ...any) {
	fmt.Fprintf(o.Progress, format+"\n", args...)
}
