package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/quintet-os/quintet/app"
	"github.com/quintet-os/quintet/gateway/tap"
	"github.com/quintet-os/quintet/internal/unix"
)

const (
	// drainMax bounds how long a namespace outlives the last process inside, for
	// connections that have something to send, or whose peers have.
	drainMax = 60 * time.Second
	// followMax is how long processes may outlive the program without being taken for
	// daemons: those of a pipeline end after one another.
	followMax = 200 * time.Millisecond
)

// hold runs a program in a network namespace and carries its frames until the last
// process inside has ended, and every connection of theirs. Its arguments are a
// holding and the program.
func (s *settings) hold(ctx context.Context, args []string) error {
	var h holding
	if len(args) == 0 || json.Unmarshal([]byte(args[0]), &h) != nil {
		return fmt.Errorf("%w: this is started by quintet run --compat", errUsage)
	}
	// The status is this process's to tell, and what the program leaves behind becomes
	// its child.
	unix.CloseOnExec(statusFD)
	if err := unix.AdoptOrphans(); err != nil {
		return err
	}
	c, domain, args, err := s.enter(ctx, h.Socket, h.Own, h.Name, args[1:])
	if err != nil {
		return err
	}
	defer c.Close()
	network, err := networkOf(domain, h.Network)
	if err != nil {
		return err
	}
	a, err := app.Connect(ctx, app.WithSocket(h.Socket), app.WithDomain(domain.Token))
	if err != nil {
		return err
	}
	defer a.Close()
	port, err := a.Port(ctx, network)
	if err != nil {
		return err
	}
	i := &port.Interface
	resolvers, err := askable(network, i.Resolvers)
	if err != nil {
		return err
	}
	gateway, err := tap.New(tap.Config{Port: port.Port, MAC: i.MAC, MTU: i.MTU, Addresses: i.Addresses, Gateways: i.Gateways})
	if err != nil {
		return fmt.Errorf("%w; --compat needs root, or a host that lets users make user namespaces; see `quintet doctor`", err)
	}
	program := prepare(h.Socket, domain, args)
	if len(resolvers) > 0 {
		program = throughCompat(program, resolvers)
	}
	if err := s.signals.start(ctx, program, func() error { return gateway.Start(program) }); err != nil {
		return errors.Join(err, gateway.Close())
	}
	over := make(chan struct{})
	go func() {
		select {
		case <-over:
		case <-gateway.Ended():
			fmt.Fprintf(os.Stderr, "quintet: network %s has gone; the program goes on without it\n", network)
		}
	}()
	status, err := s.outlive(program, gateway)
	close(over)
	select {
	case <-gateway.Ended(): // which has been told
		_ = gateway.Close()
	default:
		err = errors.Join(err, gateway.Close())
	}
	if err != nil {
		return err
	}
	return ended(status)
}

// outlive waits for the end of a program, of all processes that it leaves behind, and
// of their connections, and returns the status of the program.
func (s *settings) outlive(program *exec.Cmd, gateway *tap.Gateway) (int, error) {
	first, last := make(chan int, 1), make(chan error, 1)
	go func() {
		last <- unix.WaitChildren(func(pid int, status syscall.WaitStatus) {
			if pid == program.Process.Pid {
				first <- statusOf(status)
			}
		})
	}()
	status := <-first // that of a child cannot fail to come
	asked := s.signals.ended()
	select {
	case err := <-last:
		last <- err
	case <-asked.Done():
	case <-time.After(followMax):
		if err := leave(status); err != nil {
			return status, err
		}
	}
	select {
	case err := <-last:
		if err != nil {
			return status, err
		}
	case <-asked.Done():
		return status, nil
	}
	bound, cancel := context.WithTimeout(asked, drainMax)
	defer cancel()
	return status, gateway.Drain(bound)
}

// leave lets the command in front end with the program's status, as the program's own
// parent would see it, and this process go on behind.
func leave(status int) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	if err := unix.LeaveTerminal(int(null.Fd())); err != nil {
		return err
	}
	said := os.NewFile(statusFD, "status")
	_, err = said.WriteString(strconv.Itoa(status))
	return errors.Join(err, said.Close())
}
