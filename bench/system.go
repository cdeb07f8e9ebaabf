package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/quintet-os/quintet/app"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/supervisor"
)

const (
	systemServer = "store"
	systemVolume = "data"
	// systemWait bounds every wait for the system: to come up, to have a standby,
	// to end.
	systemWait = 20 * time.Second
	systemPoll = 2 * time.Millisecond
)

// system is a running Quintet: a supervisor, and one server with its standby.
type system struct {
	dir     string
	server  string // its name
	command *exec.Cmd
	ended   chan error
	log     strings.Builder
}

// startStore starts a system in dir, with a volume on file, which any process of
// this user may use.
func startStore(ctx context.Context, dir, file string) (*system, error) {
	return startSystem(ctx, dir, systemServer, fmt.Sprintf("servers: {%s: {kind: storage}}\nvolumes: {%s: {server: %s, file: %q}}\napplications: {bench: {volumes: {%s: rw}}}\n",
		systemServer, systemVolume, systemServer, file, systemVolume))
}

// startSystem starts a system of one server in dir.
func startSystem(ctx context.Context, dir, server, text string) (*system, error) {
	topology := filepath.Join(dir, "quintet.yaml")
	if err := os.WriteFile(topology, []byte(text), 0o600); err != nil {
		return nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &system{dir: filepath.Join(dir, "state"), server: server, ended: make(chan error, 1)}
	s.command = exec.Command(exe, "up", "--state", s.dir, "--file", topology)
	s.command.Stdout, s.command.Stderr = &s.log, &s.log
	if err := s.command.Start(); err != nil {
		return nil, fmt.Errorf("start quintet up: %w", err)
	}
	go func() { s.ended <- s.command.Wait() }()
	if _, err := s.ready(ctx); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// ready waits until the server serves and its standby is warm.
func (s *system) ready(ctx context.Context) (supervisor.ServerState, error) {
	ctx, cancel := context.WithTimeout(ctx, systemWait)
	defer cancel()
	for {
		state, err := s.state(ctx)
		if err == nil && state.Phase == supervisor.PhaseServing && state.Warm {
			return state, nil
		}
		select {
		case ended := <-s.ended:
			s.ended <- ended
			return state, fmt.Errorf("quintet up ended: %w\n%s", ended, s.log.String())
		case <-ctx.Done():
			return state, fmt.Errorf("the system does not come up: server %s is %s, standby %d: %w", s.server, state.Phase, state.StandbyPID, errors.Join(err, ctx.Err()))
		case <-time.After(systemPoll):
		}
	}
}

// state is that of the system's server.
func (s *system) state(ctx context.Context) (supervisor.ServerState, error) {
	state, err := s.whole(ctx)
	if err != nil {
		return supervisor.ServerState{}, err
	}
	for _, server := range state.Servers {
		if server.Name == s.server {
			return server, nil
		}
	}
	return supervisor.ServerState{}, fmt.Errorf("quintet ps lists no server %s", s.server)
}

// whole asks the supervisor.
func (s *system) whole(ctx context.Context) (state supervisor.State, err error) {
	out, err := exec.CommandContext(ctx, s.command.Path, "ps", "--json", "--state", s.dir).Output()
	if err != nil {
		return state, fmt.Errorf("quintet ps: %w", err)
	}
	if err := json.Unmarshal(out, &state); err != nil {
		return state, fmt.Errorf("quintet ps --json: %w", err)
	}
	return state, nil
}

// processes are those of the system itself.
func (s *system) processes(state supervisor.ServerState) map[string]int {
	return map[string]int{"supervisor": s.command.Process.Pid, "server": state.PID, "standby": state.StandbyPID}
}

func (s *system) connect(ctx context.Context) (*app.App, error) {
	return app.Connect(ctx, app.WithSocket(broker.SocketPath(s.dir)), app.WithName("bench"))
}

// stop ends the system as Ctrl-C would.
func (s *system) stop() error {
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-s.ended:
		if err != nil {
			return fmt.Errorf("quintet up: %w\n%s", err, s.log.String())
		}
		return nil
	case <-time.After(systemWait):
		return errors.Join(fmt.Errorf("the supervisor did not end in %v: killed", systemWait), s.command.Process.Kill())
	}
}
