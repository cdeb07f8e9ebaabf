package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/quintet-os/quintet/supervisor"
)

func newPs(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "ps",
		Short: "List servers and applications, with their state",
		Args:  usage(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			report, err := control(cmd.Context(), c, supervisor.VerbState, "")
			if err != nil {
				return err
			}
			if s.json {
				_, err := os.Stdout.Write(append(report, '\n'))
				return err
			}
			var state supervisor.State
			if err := json.Unmarshal(report, &state); err != nil {
				return err
			}
			return printState(&state)
		},
	}
}

func printState(state *supervisor.State) error {
	fmt.Printf("supervisor: pid %d, up %s, state in %s\n\n", state.PID,
		time.Duration(state.UptimeS*float64(time.Second)).Round(time.Second), state.StateDir)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVER\tSTATE\tPID\tSTANDBY\tGENERATION\tDEATHS\tSESSIONS\tREQUESTS\tREPLAYED\tREAD\tWRITTEN\tVOLUMES")
	for _, s := range state.Servers {
		phase := string(s.Phase)
		if s.RetryInMS > 0 {
			phase = fmt.Sprintf("%s, %s", phase, time.Duration(s.RetryInMS*float64(time.Millisecond)).Round(10*time.Millisecond))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n", s.Name, phase, pid(s.PID), standby(&s),
			s.Generation, s.Deaths, s.Sessions, s.Requests, s.Replayed, size(s.ReadB), size(s.WrittenB), strings.Join(s.Volumes, ","))
	}
	if len(state.Applications) > 0 {
		fmt.Fprintln(w, "\nAPPLICATION\tPID\tUID\tSESSIONS\tGRANTED\tFAILED")
		for _, a := range state.Applications {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%d\n", a.Name, a.PID, a.UID, a.Sessions, size(uint64(a.GrantedB)), a.Failed)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, s := range state.Servers {
		if s.LastDeath != "" && s.Phase != supervisor.PhaseServing {
			fmt.Printf("\nserver %s: last end: %s\n", s.Name, s.LastDeath)
		}
		for _, measure := range s.Degraded {
			fmt.Printf("\nserver %s: weaker sandbox: %s\n", s.Name, measure)
		}
	}
	return nil
}

func pid(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

func standby(s *supervisor.ServerState) string {
	if s.StandbyPID != 0 && !s.Warm {
		return pid(s.StandbyPID) + " (starting)"
	}
	return pid(s.StandbyPID)
}

// size prints bytes in binary units.
func size(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}
