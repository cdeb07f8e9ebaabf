package main

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/quintet-os/quintet/supervisor"
	"github.com/quintet-os/quintet/supervisor/topology"
)

// readyLine is what a detached supervisor writes once the system is up.
const readyLine = "ready"

// upMax is the time the servers get to come up.
const upMax = 15 * time.Second

func newUp(s *settings) *cobra.Command {
	var file string
	var detach bool
	up := &cobra.Command{
		Use:   "up",
		Short: "Start the system that quintet.yaml describes",
		Long: `Start the system that quintet.yaml describes, and supervise it until Ctrl-C,
SIGTERM or "quintet down". With --detach the supervisor goes on in the
background, and the command returns when all servers serve.`,
		Args: usage(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := topology.Load(file)
			if err != nil {
				return err
			}
			if os.Getenv(detachedVariable) != "" {
				log, err := supervisor.OpenLogFile(s.logPath())
				if err != nil {
					return err
				}
				late := supervisor.NewLateWriter(log)
				defer late.Flush(logFlushMax)
				slog.SetDefault(slog.New(supervisor.NewLog(late, s.level())))
			}
			if detach {
				return s.detach(cmd.Context(), file)
			}
			return s.up(cmd.Context(), t)
		},
	}
	up.Flags().StringVarP(&file, "file", "f", "quintet.yaml", "topology `file`")
	up.Flags().BoolVarP(&detach, "detach", "d", false, "supervise in the background")
	return up
}

// up supervises until ctx ends.
func (s *settings) up(ctx context.Context, t *topology.Topology) error {
	sup, err := supervisor.New(supervisor.Config{StateDir: s.dir(), Binary: binary(), Topology: t})
	if err != nil {
		return err
	}
	serving := make(chan error, 1)
	go func() {
		wait, cancel := context.WithTimeout(ctx, upMax)
		defer cancel()
		err := sup.WaitServing(wait)
		serving <- err
		if err == nil {
			announce(sup)
		} else if ctx.Err() == nil {
			fmt.Fprintf(os.Stderr, "quintet: the system is not complete: %v; look at `quintet ps`\n", err)
		}
	}()
	err = sup.Run(ctx)
	if closeErr := sup.Close(); err == nil {
		err = closeErr
	}
	return err
}

// announce says that the system is up, to a person or to the command that
// detached this one.
func announce(sup *supervisor.Supervisor) {
	if os.Getenv(detachedVariable) != "" {
		fmt.Fprintln(stdout, readyLine)
		_ = os.Stdout.Close()
		return
	}
	state := sup.State()
	for _, server := range state.Servers {
		fmt.Fprintf(os.Stderr, "server %s serves %s\n", server.Name, strings.Join(append(server.Volumes, server.Networks...), ", "))
		for _, measure := range server.Degraded {
			fmt.Fprintf(os.Stderr, "  weaker sandbox: %s\n", measure)
		}
	}
	for _, uplink := range state.Uplinks {
		fmt.Fprintf(os.Stderr, "uplink %s joins %s to the world (%s)\n", uplink.Name, uplink.Network, uplink.Kind)
		for _, measure := range uplink.Degraded {
			fmt.Fprintf(os.Stderr, "  weaker sandbox: %s\n", measure)
		}
	}
	fmt.Fprintf(os.Stderr, "up in %s; stop with Ctrl-C or `quintet down`\n", state.StateDir)
}

// detachedVariable marks the process of a detached supervisor.
const detachedVariable = "QUINTET_DETACHED"

// detach starts a supervisor in a session of its own and waits until it is up.
// Its log goes to the state directory.
func (s *settings) detach(ctx context.Context, file string) error {
	if err := supervisor.MakeStateDir(s.dir()); err != nil {
		return err
	}
	logPath := s.logPath()
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	start, err := log.Seek(0, 2)
	if err != nil {
		return err
	}
	args := []string{"up", "--state", s.dir(), "--file", file}
	if s.verbose {
		args = append(args, "--verbose")
	}
	child := exec.Command(binary(), args...)
	child.Env = append(os.Environ(), detachedVariable+"=1")
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	child.Stderr = log
	out, err := child.StdoutPipe()
	if err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return err
	}
	ready := make(chan bool, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		ready <- strings.TrimSpace(line) == readyLine
	}()
	select {
	case ok := <-ready:
		if ok {
			fmt.Fprintf(os.Stderr, "up in %s, pid %d; log in %s; stop with `quintet down`\n", s.dir(), child.Process.Pid, logPath)
			return child.Process.Release()
		}
	case <-time.After(upMax):
		return fmt.Errorf("the supervisor (pid %d) runs, but not all servers serve yet; look at `quintet ps` and %s", child.Process.Pid, logPath)
	case <-ctx.Done():
		_ = child.Process.Signal(syscall.SIGTERM)
		_ = child.Wait()
		return ctx.Err()
	}
	_ = child.Wait()
	said, err := os.ReadFile(logPath)
	if err != nil {
		return err
	}
	return fmt.Errorf("%s", strings.TrimPrefix(strings.TrimSpace(string(said[min(start, int64(len(said))):])), "quintet: "))
}

// logPath is the log of a supervisor in the background.
func (s *settings) logPath() string { return s.dir() + "/supervisor.log" }

// binary is this program's path; after an upgrade it is the new program.
func binary() string {
	path, err := os.Executable()
	if err != nil {
		return "/proc/self/exe"
	}
	if path = strings.TrimSuffix(path, " (deleted)"); exists(path) {
		return path
	}
	return "/proc/self/exe"
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
