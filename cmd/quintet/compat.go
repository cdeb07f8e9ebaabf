package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/quintet-os/quintet/app"
	"github.com/quintet-os/quintet/gateway/tap"
	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/supervisor"
)

// resolversVariable carries the addresses of the network's resolvers to execCompat.
const resolversVariable = "QUINTET_RESOLVERS"

const resolvConf = "/etc/resolv.conf"

// runCompat runs a program in a network namespace whose interface is a port of the
// network, and carries its frames until it ends.
func (s *settings) runCompat(ctx context.Context, domain *supervisor.Domain, network string, program *exec.Cmd) error {
	if network == "" {
		if len(domain.Networks) != 1 {
			return fmt.Errorf("%w: --compat needs --network, since the application has %d networks in the topology (%s)",
				errUsage, len(domain.Networks), strings.Join(domain.Networks, ", "))
		}
		network = domain.Networks[0]
	}
	if os.Geteuid() != 0 {
		return asRootOfOwn()
	}
	a, err := app.Connect(ctx, app.WithSocket(s.socket()), app.WithDomain(domain.Token))
	if err != nil {
		return err
	}
	defer a.Close()
	port, err := a.Port(ctx, network)
	if err != nil {
		return err
	}
	i := &port.Interface
	gateway, err := tap.New(tap.Config{Port: port.Port, MAC: i.MAC, MTU: i.MTU, Addresses: i.Addresses, Gateways: i.Gateways})
	if err != nil {
		return fmt.Errorf("%w; --compat needs root, or a host that lets users make user namespaces; see `quintet doctor`", err)
	}
	if len(i.Resolvers) > 0 {
		var resolvers []string
		for _, r := range i.Resolvers {
			resolvers = append(resolvers, r.Addr().String())
		}
		program = throughCompat(program, resolvers)
	}
	finished := make(chan struct{})
	go func() {
		select {
		case <-finished:
		case <-gateway.Ended():
			fmt.Fprintf(os.Stderr, "quintet: network %s has gone; the program goes on without it\n", network)
		}
	}()
	err = runForwarding(program, func() error { return gateway.Start(program) })
	close(finished)
	return errors.Join(err, gateway.Close())
}

// asRootOfOwn runs this command again as root of a user namespace of its own.
func asRootOfOwn() error {
	again := exec.Command(binary(), os.Args[1:]...)
	again.Stdin, again.Stdout, again.Stderr = os.Stdin, os.Stdout, os.Stderr
	again.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	err := runForwarding(again, again.Start)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("make a user namespace: %w; --compat needs root, or a host that lets users make user namespaces; see `quintet doctor`", err)
	}
	return err
}

// throughCompat has the program started by execCompat, in a mount namespace of its
// own.
func throughCompat(program *exec.Cmd, resolvers []string) *exec.Cmd {
	through := *program
	through.Path = binary()
	through.Args = append([]string{"quintet", "internal", "compat", program.Path}, program.Args...)
	through.Env = append(through.Env, resolversVariable+"="+strings.Join(resolvers, " "))
	through.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	return &through
}

// execCompat makes the network's resolvers those of the program and becomes it. Its
// arguments are the program's path and all its arguments.
func execCompat(args []string) error {
	if len(args) < 2 || os.Getenv(resolversVariable) == "" {
		return fmt.Errorf("%w: this is started by quintet run --compat", errUsage)
	}
	if err := replaceResolvers(strings.Fields(os.Getenv(resolversVariable))); err != nil {
		fmt.Fprintf(os.Stderr, "quintet: names are looked up with the resolvers of the host: %v\n", err)
	}
	_ = os.Unsetenv(resolversVariable)
	return fmt.Errorf("start %s: %w", args[0], unix.Exec(args[0], args[1:], os.Environ()))
}

func replaceResolvers(resolvers []string) error {
	at, err := filepath.EvalSymlinks(resolvConf)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp("", "quintet-resolv-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	for _, r := range resolvers {
		fmt.Fprintf(f, "nameserver %s\n", r)
	}
	if err := errors.Join(f.Chmod(0o644), unix.PrivateMounts()); err != nil {
		return err
	}
	return unix.BindFile(f.Name(), at)
}
