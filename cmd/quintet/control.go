package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/quintet-os/quintet/supervisor"
)

func newDown(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Stop the system: finish what has begun, end all sessions",
		Args:  usage(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			if _, err := control(cmd.Context(), c, supervisor.VerbDown, ""); err != nil {
				return err
			}
			// The supervisor closes this connection last.
			select {
			case <-c.Gone():
				return nil
			case <-cmd.Context().Done():
				return cmd.Context().Err()
			}
		},
	}
}

func newRestart(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "restart NAME",
		Short: "Hand a server's work over to a new process, of the program as it is now on disk",
		Long: `Hand a server's work over to a new process, of the program as it is now on disk; or
replace the process of an uplink, which ends the connections that a user uplink
carries on sockets of the host.`,
		Args: usage(1, 1, "the name of a server or uplink"),

		ValidArgsFunction: s.completeServer,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			began := time.Now()
			report, err := control(cmd.Context(), c, supervisor.VerbRestart, args[0])
			if err != nil {
				return err
			}
			if s.json {
				_, err := stdout.Write(append(report, '\n'))
				return err
			}
			var state supervisor.State
			if err := json.Unmarshal(report, &state); err != nil {
				return err
			}
			for _, server := range state.Servers {
				if server.Name == args[0] {
					fmt.Fprintf(stdout, "server %s: pid %d serves as generation %d, %s in all\n", server.Name, server.PID, server.Generation, time.Since(began).Round(time.Millisecond))
				}
			}
			for _, uplink := range state.Uplinks {
				if uplink.Name == args[0] {
					fmt.Fprintf(stdout, "uplink %s: pid %d, %s in all\n", uplink.Name, uplink.PID, time.Since(began).Round(time.Millisecond))
				}
			}
			return nil
		},
	}
}

func newKill(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "kill NAME",
		Short: "Kill the process of a server or uplink with SIGKILL, to see that nobody minds",
		Args:  usage(1, 1, "the name of a server or uplink"),

		ValidArgsFunction: s.completeServer,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			report, err := control(cmd.Context(), c, supervisor.VerbKill, args[0])
			if err != nil {
				return err
			}
			if s.json {
				_, err := stdout.Write(append(report, '\n'))
				return err
			}
			var killed supervisor.Killed
			if err := json.Unmarshal(report, &killed); err != nil {
				return err
			}
			fmt.Fprintf(stdout, "%s: killed pid %d\n", args[0], killed.PID)
			return nil
		},
	}
}

// completeServer offers the names of the servers and uplinks to the shell.
func (s *settings) completeServer(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	if len(args) > 0 {
		return nil, none
	}
	ctx := cmd.Context()
	c, err := s.connect(ctx)
	if err != nil {
		return nil, none
	}
	defer c.Close()
	_, state, err := look(ctx, c)
	if err != nil {
		return nil, none
	}
	var names []string
	for _, server := range state.Servers {
		names = append(names, server.Name)
	}
	for _, uplink := range state.Uplinks {
		names = append(names, uplink.Name)
	}
	return names, none
}
