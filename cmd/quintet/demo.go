package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/quintet-os/quintet/cmd/quintet/demo"
)

func newDemo(s *settings) *cobra.Command {
	var o demo.Options
	d := &cobra.Command{
		Use:   "demo",
		Short: "Copy real files into a volume and over a network while their servers are killed about ten times a second",
		Long: `Bring a system up on an image file in a temporary directory, copy a tree of real
files into its volume from several application processes while the storage
server is killed with SIGKILL every 100 ms. Then have a web server send every
file of the volume over TCP to another process and get it back, while both
servers are killed in turn. Read the volume in one more process, and compare. The
exit status is 1 if anything was lost, ran twice or was damaged, if a connection
broke, or if all was over before the first kills. Nothing is left behind.

A gap is the time between two completions that an application saw while it was
waiting for one; the gap of a kill is the longest of all applications between
that kill and the next.`,
		Args: usage(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Duration < 0 {
				return fmt.Errorf("%w: --duration %v is negative", errUsage, o.Duration)
			}
			o.Binary = binary()
			o.Progress = progress(s.json)
			result, err := demo.Run(cmd.Context(), o)
			if err != nil && cmd.Context().Err() != nil {
				return context.Cause(cmd.Context()) // what a signal broke off is no fault
			}
			if err != nil {
				return err
			}
			if s.json {
				err = json.NewEncoder(stdout).Encode(result)
			} else {
				err = result.Table(stdout)
			}
			if err == nil && !result.Passed() {
				err = errSilent
			}
			return err
		},
	}
	d.Flags().StringVar(&o.Input, "input", "", "`directory` to copy (default: the sources of the Go installation)")
	d.Flags().DurationVar(&o.Duration, "duration", 10*time.Second, "copy and exchange again and again for that long; at least once")
	return d
}

// progress returns a function that tells people how far long work is.
func progress(quiet bool) func(string) {
	if quiet && !terminal(os.Stderr) {
		return func(string) {}
	}
	return func(line string) { fmt.Fprintln(os.Stderr, line) }
}
