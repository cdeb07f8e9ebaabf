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

	"github.com/quintet-os/quintet/ipc/broker"
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
namespaces, and the program then believes to be root. The network lasts as long as
the last process inside, a daemon that outlives this command included. What their
connections have not sent yet is sent before it ends, for at most a minute, during
which this command stays; a signal cuts that short.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if name == "" {
				if len(args) == 0 {
					return fmt.Errorf("%w: quintet run needs --name or a program; see `quintet run --help`", errUsage)
				}
				name = filepath.Base(args[0])
			}
			if compat {
				return s.runCompat(cmd.Context(), name, network, args)
			}
			c, domain, args, err := s.enter(cmd.Context(), s.socket(), s.own(), name, args)
			if err != nil {
				return err
			}
			defer c.Close()
			program := prepare(s.socket(), domain, args)
			if err := s.signals.start(cmd.Context(), program, program.Start); err != nil {
				return err
			}
			return endOf(program.Wait())
		},
	}
	run.Flags().StringVar(&name, "name", "", "`name` of the application in the topology")
	run.Flags().BoolVar(&compat, "compat", false, "give an unmodified program a network namespace with a port of the network")
	run.Flags().StringVar(&network, "network", "", "`network` to use with --compat (default: the application's only one)")
	run.Flags().SetInterspersed(false)
	return run
}

// enter makes this process and its children the application of that name. It returns
// the program to run, which is args or what the topology has; the domain lasts until the
// connection is closed.
func (s *settings) enter(ctx context.Context, socket string, own bool, name string, args []string) (*broker.Client, *supervisor.Domain, []string, error) {
	c, err := connect(ctx, socket, own)
	if err != nil {
		return nil, nil, nil, err
	}
	report, err := control(ctx, c, supervisor.VerbDomain, name)
	domain := new(supervisor.Domain)
	if err == nil {
		err = json.Unmarshal(report, domain)
	}
	if err == nil && len(args) == 0 {
		if args = domain.Command; len(args) == 0 {
			err = fmt.Errorf("%w: the topology has no command for %s; give a program after --", errUsage, name)
		}
	}
	if err != nil {
		_ = c.Close()
		return nil, nil, nil, err
	}
	if domain.Unlimited != "" {
		fmt.Fprintf(os.Stderr, "quintet: the memory of %s is not limited: %s\n", visible(name, ""), visible(domain.Unlimited, ""))
	}
	return c, domain, args, nil
}

// prepare prepares a program of a domain.
func prepare(socket string, domain *supervisor.Domain, args []string) *exec.Cmd {
	program := exec.Command(args[0], args[1:]...)
	program.Stdin, program.Stdout, program.Stderr = os.Stdin, os.Stdout, os.Stderr
	program.Dir = domain.Directory
	program.Env = os.Environ()
	for name, value := range domain.Environment {
		program.Env = append(program.Env, name+"="+value)
	}
	program.Env = append(program.Env,
		broker.SocketVariable+"="+socket, broker.DomainVariable+"="+domain.Token)
	return program
}

// programEnded is the end of a program with a status other than 0, which this command
// passes on.
type programEnded int

func (e programEnded) Error() string {
	return fmt.Sprintf("the program has ended with status %d", int(e))
}

// ended is nil for a status of 0.
func ended(status int) error {
	if status == 0 {
		return nil
	}
	return programEnded(status)
}

// endOf turns what exec.Cmd.Wait returns into the end of a program.
func endOf(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return ended(statusOf(exit.Sys().(syscall.WaitStatus)))
	}
	return err
}

func statusOf(wait syscall.WaitStatus) int {
	if wait.Signaled() {
		return exitSignal + int(wait.Signal())
	}
	return wait.ExitStatus()
}
