package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/quintet-os/quintet/internal/unix"
)

// resolversVariable carries the addresses of the network's resolvers to execCompat.
const resolversVariable = "QUINTET_RESOLVERS"

const resolvConf = "/etc/resolv.conf"

// resolverPort is where the C library asks (resolv.conf(5) has no word for another).
const resolverPort = 53

// askable are the resolvers of a network for programs that know nothing of Quintet.
func askable(network string, resolvers []netip.AddrPort) (addresses []string, err error) {
	for _, r := range resolvers {
		if r.Port() != resolverPort {
			return nil, fmt.Errorf("network %s has the resolver %v, and programs under --compat can ask at port %d only; "+
				"give it to a user uplink of the network instead, which asks it for them", network, r, resolverPort)
		}
		addresses = append(addresses, r.Addr().String())
	}
	return addresses, nil
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
	host, err := os.ReadFile(at)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(resolverLines(string(host), resolvers)); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o644), unix.PrivateMounts()); err != nil {
		return err
	}
	return unix.BindFile(f.Name(), at)
}

// resolverLines is a file in the form of resolv.conf(5) with these resolvers, and with
// what the host's says of the rest: its search list and options.
func resolverLines(host string, resolvers []string) string {
	var b strings.Builder
	for _, r := range resolvers {
		fmt.Fprintf(&b, "nameserver %s\n", r)
	}
	for line := range strings.Lines(host) {
		words := strings.Fields(line)
		if len(words) > 1 && (words[0] == "search" || words[0] == "domain" || words[0] == "options") {
			fmt.Fprintln(&b, strings.Join(words, " "))
		}
	}
	return b.String()
}
