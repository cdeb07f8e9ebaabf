package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/quintet-os/quintet/ipc/broker"
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
			report, state, err := look(cmd.Context(), c)
			if err != nil {
				return err
			}
			if s.json {
				_, err := stdout.Write(append(report, '\n'))
				return err
			}
			return printState(state)
		},
	}
}

// look asks for the state of the system.
func look(ctx context.Context, c *broker.Client) (report []byte, state *supervisor.State, err error) {
	if report, err = control(ctx, c, supervisor.VerbState, ""); err != nil {
		return nil, nil, err
	}
	state = new(supervisor.State)
	err = json.Unmarshal(report, state)
	makeVisible(reflect.ValueOf(state))
	return report, state, err
}

func printState(state *supervisor.State) error {
	fmt.Fprintf(stdout, "supervisor: pid %d, up %s, state in %s\n\n", state.PID,
		time.Duration(state.UptimeS*float64(time.Second)).Round(time.Second), state.StateDir)
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVER\tSTATE\tPID\tSTANDBY\tGENERATION\tDEATHS\tSESSIONS\tREQUESTS\tREPLAYED\tREAD\tWRITTEN\tSERVES")
	for _, s := range state.Servers {
		phase := string(s.Phase)
		if s.RetryInMS > 0 {
			phase = fmt.Sprintf("%s, %s", phase, time.Duration(s.RetryInMS*float64(time.Millisecond)).Round(10*time.Millisecond))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n", s.Name, phase, pid(s.PID), standby(&s),
			s.Generation, s.Deaths, s.Sessions, s.Requests, s.Replayed, size(s.ReadB), size(s.WrittenB), strings.Join(append(s.Volumes, s.Networks...), ","))
	}
	if len(state.Applications) > 0 {
		fmt.Fprintln(w, "\nAPPLICATION\tPID\tUID\tSESSIONS\tGRANTED\tFAILED")
		for _, a := range state.Applications {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%d\n", a.Name, a.PID, a.UID, a.Sessions, size(uint64(a.GrantedB)), a.Failed)
		}
	}
	printNetworks(w, state)
	if err := w.Flush(); err != nil {
		return err
	}
	for _, u := range state.Uplinks {
		switch {
		case u.Trouble != "":
			fmt.Fprintf(stdout, "\nuplink %s: %s\n", u.Name, u.Trouble)
		case !u.Serving && u.LastDeath != "":
			fmt.Fprintf(stdout, "\nuplink %s: last end: %s\n", u.Name, u.LastDeath)
		}
		for _, measure := range u.Degraded {
			fmt.Fprintf(stdout, "\nuplink %s: weaker sandbox: %s\n", u.Name, measure)
		}
	}
	for _, s := range state.Servers {
		if s.LastDeath != "" && s.Phase != supervisor.PhaseServing {
			fmt.Fprintf(stdout, "\nserver %s: last end: %s\n", s.Name, s.LastDeath)
		}
		for _, lost := range s.Lost {
			fmt.Fprintf(stdout, "\nserver %s: process %d does without %s\n", s.Name, lost.PID, lost.Reason)
		}
		for _, measure := range s.Degraded {
			fmt.Fprintf(stdout, "\nserver %s: weaker sandbox: %s\n", s.Name, measure)
		}
	}
	return nil
}

func printNetworks(w io.Writer, state *supervisor.State) {
	if len(state.Networks) == 0 {
		return
	}
	fmt.Fprintln(w, "\nPORT\tNETWORK\tPID\tADDRESSES\tSENT\tRECEIVED\tDROPPED\tFAILED")
	for _, n := range state.Networks {
		for _, p := range n.Ports {
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", p.Name, n.Name, p.PID, addresses(&p),
				size(p.SentB), size(p.ReceivedB), drops(p.Drops), p.Failed)
		}
	}
	if len(state.Uplinks) == 0 {
		return
	}
	fmt.Fprintln(w, "\nUPLINK\tNETWORK\tKIND\tINTERFACE\tPID\tDEATHS")
	for _, u := range state.Uplinks {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\n", u.Name, u.Network, u.Kind, cmp.Or(u.Interface, "-"), pid(u.PID), u.Deaths)
	}
}

func addresses(p *supervisor.PortState) string {
	var all []string
	for _, a := range p.Addresses {
		all = append(all, a.String())
	}
	if len(all) == 0 {
		return p.MAC.String()
	}
	return strings.Join(all, ",")
}

// drops lists how many frames were dropped for each reason.
func drops(by map[string]uint64) string {
	var all []string
	for _, reason := range slices.Sorted(maps.Keys(by)) {
		all = append(all, fmt.Sprintf("%d %s", by[reason], reason))
	}
	if len(all) == 0 {
		return "-"
	}
	return strings.Join(all, ", ")
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
