package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/quintet-os/quintet/supervisor"
)

func newRun(s *settings) *cobra.Command {
	var name, network string
	var compat bool
	run := &cobra.Command{
		Use:   "run [--name N] [-- PROGRAM ARGS...]",
		Short: "Run a program as an application of the system",
		Long: `Run a program as the application that the topology calls N (by default the
program's name). It gets what the topology grants to N, and so do the processes
it starts. Without PROGRAM it is the command that the topology has for N. Signals
are passed on to it. Its exit status is this command's, 128 and the number of
the signal if one has ended it.

With --compat the program needs to know nothing of Quintet: it runs in a network
namespace whose one interface, eth0, is the application's port of a network. So
does what it starts. Without root, that needs a host that lets users make user
namespaces, and the program then believes to be root.`,
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
			program := s.program(&domain, args)
			if compat {
				err = s.runCompat(cmd.Context(), &domain, network, program)
			} else {
				err = runForwarding(program, program.Start)
			}
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				_ = c.Close()
				os.Exit(status(exit))
			}
			return err
		},
	}
	run.Flags().StringVar(&name, "name", "", "`name` of the application in the topology")
	run.Flags().BoolVar(&compat, "compat", false, "give an unmodified program a network namespace with a port of the network")
	run.Flags().StringVar(&network, "network", "", "`network` to use with --compat (default: the application's only one)")
	run.Flags().SetInterspersed(false)
	return run
}

// program prepares a program of a domain.
func (s *settings) program(domain *supervisor.Domain, args []string) *exec.Cmd {
	program := exec.Command(args[0], args[1:]...)
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

// runForwarding runs a program, which start starts, and passes on to it the signals that this command
// gets. Those of a terminal's keys reach the program anyway.
func runForwarding(program *exec.Cmd, start func() error) error {
	typed := terminal(os.Stdin)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	if err := start(); err != nil {
		return err
	}
	go func() {
		for each := range signals {
			if typed && (each == os.Interrupt || each == syscall.SIGQUIT) {
				continue
			}
			_ = program.Process.Signal(each) // it may have ended
		}
	}()
	return program.Wait()
}

func status(exit *exec.ExitError) int {
	if wait, ok := exit.Sys().(syscall.WaitStatus); ok && wait.Signaled() {
		return 128 + int(wait.Signal())
	}
	return max(exit.ExitCode(), exitFailed)
}
