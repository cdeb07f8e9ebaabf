package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/quintet-os/quintet/supervisor"
)

// statusFD is where the holder says with which status its program has ended, if it
// goes on itself.
const statusFD = 3

// holding is what a holder needs to know.
type holding struct {
	Socket string
	Own    bool // nobody has named the socket, so the supervisor has to be this user's
	Name   string
	// Network is empty for the only one.
	Network string
}

// runCompat runs a program in a network namespace whose interface is a port of the
// network. The namespace is a holder's, which is a process of its own: it outlives
// this one where the program has left others behind, and whatever ends this one.
func (s *settings) runCompat(ctx context.Context, name, network string, args []string) error {
	spec, err := json.Marshal(holding{Socket: s.socket(), Own: s.own(), Name: name, Network: network})
	if err != nil {
		return err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	holder := exec.Command(binary(), append([]string{"internal", "holder", string(spec)}, args...)...)
	holder.Stdin, holder.Stdout, holder.Stderr = os.Stdin, os.Stdout, os.Stderr
	holder.ExtraFiles = []*os.File{write}
	if os.Geteuid() != 0 {
		holder.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		}
	}
	err = s.signals.start(ctx, holder, holder.Start)
	_ = write.Close()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("make a user namespace: %w; --compat needs root, or a host that lets users make user namespaces; see `quintet doctor`", err)
	}
	if err != nil {
		return err
	}
	said, err := io.ReadAll(read)
	if err != nil {
		return fmt.Errorf("learn how the program has ended: %w", err)
	}
	if len(said) == 0 { // the holder has ended with the program
		return endOf(holder.Wait())
	}
	code, err := strconv.Atoi(string(said))
	if err != nil {
		return fmt.Errorf("learn how the program has ended: %w", err)
	}
	return ended(code)
}

// networkOf is the network to use with --compat.
func networkOf(domain *supervisor.Domain, asked string) (string, error) {
	if asked != "" {
		return asked, nil
	}
	if len(domain.Networks) != 1 {
		return "", fmt.Errorf("%w: --compat needs --network, since the application has %d networks in the topology (%s)",
			errUsage, len(domain.Networks), strings.Join(domain.Networks, ", "))
	}
	return domain.Networks[0], nil
}
