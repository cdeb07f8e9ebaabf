package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/quintet-os/quintet/supervisor"
)

func newRun(s *settings) *cobra.Command {
	var name string
	run := &cobra.Command{
		Use:   "run [--name N] [-- PROGRAM ARGS...]",
		Short: "Run a program as an application of the system",
		Long: `Run a program as the application that the topology calls N (by default the
program's name). It gets what the topology grants to N, and so do the processes
it starts. Without PROGRAM it is the command that the topology has for N. Its
exit status is this command's.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if name == "" {
				if len(args) == 0 {
					return fmt.Errorf("%w: quintet run needs --name or a program; see `quintet run --help`", errUsage)
				}
				name = filepath.Base(args[0])
			}
			c, err := s.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			report, err := control(cmd.Context(), c, supervisor.VerbDomain, name)
			if err != nil {
				return err
			}
			var domain supervisor.Domain
			if err := json.Unmarshal(report, &domain); err != nil {
				return err
			}
			if domain.Unlimited != "" {
				fmt.Fprintf(os.Stderr, "quintet: the memory of %s is not limited: %s\n", name, domain.Unlimited)
			}
			if len(args) == 0 {
				args = domain.Command
			}
			if len(args) == 0 {
				return fmt.Errorf("%w: the topology has no command for %s; give a program after --", errUsage, name)
			}
			err = s.program(cmd.Context(), &domain, args).Run()
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				_ = c.Close()
				os.Exit(max(exit.ExitCode(), exitFailed))
			}
			return err
		},
	}
	run.Flags().StringVar(&name, "name", "", "`name` of the application in the topology")
	run.Flags().SetInterspersed(false)
	return run
}

// program prepares a program of a domain. When this command is told to end, the
// program is; the domain lasts until it has.
func (s *settings) program(ctx context.Context, domain *supervisor.Domain, args []string) *exec.Cmd {
	program := exec.CommandContext(ctx, args[0], args[1:]...)
	program.Cancel = func() error { return program.Process.Signal(syscall.SIGTERM) }
	program.Stdin, program.Stdout, program.Stderr = os.Stdin, os.Stdout, os.Stderr
	program.Dir = domain.Directory
	program.Env = os.Environ()
	for name, value := range domain.Environment {
		program.Env = append(program.Env, name+"="+value)
	}
	program.Env = append(program.Env,
		supervisor.SocketVariable+"="+s.socket(), supervisor.DomainVariable+"="+domain.Token)
	return program
}
