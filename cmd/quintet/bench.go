package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quintet-os/quintet/bench"
)

// suites are the benchmarks by name.
var suites = map[string]func(context.Context, bench.Options) ([]bench.Row, error){
	"attack":  bench.StorageAttacks,
	"ext4":    bench.Ext4,
	"ipc":     bench.IPC,
	"network": bench.Network,
	"storage": bench.Storage,
}

func newBench(s *settings) *cobra.Command {
	var o bench.Options
	b := &cobra.Command{
		Use:       "bench " + strings.Join(names(suites), "|"),
		Short:     "Measure this machine, beside C programs, Unix sockets, fio and Linux",
		Args:      usage(1, 1, "the name of a benchmark: "+strings.Join(names(suites), ", ")),
		ValidArgs: names(suites),
		RunE: func(cmd *cobra.Command, args []string) error {
			suite, ok := suites[args[0]]
			if !ok {
				return fmt.Errorf("%w: there is no benchmark %q; there are: %s", errUsage, args[0], strings.Join(names(suites), ", "))
			}
			o.Progress = io.Discard
			if !s.json || terminal(os.Stderr) {
				o.Progress = os.Stderr
			}
			rows, err := suite(cmd.Context(), o)
			if err != nil {
				return err
			}
			if s.json {
				return bench.WriteJSON(stdout, rows)
			}
			return bench.WriteTable(stdout, rows)
		},
	}
	b.Flags().IntVar(&o.Rounds, "rounds", 0, "how often each side runs, in turn (default 5)")
	b.Flags().DurationVar(&o.Duration, "duration", time.Second, "length of one run of one side")
	b.Flags().StringSliceVar(&o.Only, "only", nil, "run these `parts` only")
	return b
}
