package main

import (
	"errors"
	"fmt"
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
