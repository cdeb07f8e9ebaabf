// Package test runs whole systems: the built binary, real processes, real
// SIGKILLs. Its tests read as the events they play.
package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quintet-os/quintet/app"
	"github.com/quintet-os/quintet/internal/netns"
	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/supervisor"
)

// patience bounds every wait for a condition: what takes longer hangs.
const patience = 30 * time.Second

// oneServer is a system with one server and one volume.
const oneServer = `version: 1
servers: {store: {kind: storage}}
volumes: {data: {server: store, file: data.img, size: 64MiB, create: true}}
applications: {test: {volumes: {data: rw}}}
`

// System is a running `quintet up`.
type System struct {
	t    testing.TB
	Dir  string // state directory, topology and image files
	up   *exec.Cmd
	log  bytes.Buffer
	done chan struct{}
	err  error
	host *netns.Namespace // where the system runs; nil: where the test does
}

// Up starts a system in a directory of its own, and waits until it serves. The
// test ends it.
func Up(t testing.TB, binary, topology string) *System {
	t.Helper()
	return UpIn(t, nil, binary, topology)
}

// UpIn starts a system in a network namespace.
func UpIn(t testing.TB, host *netns.Namespace, binary, topology string) *System {
	t.Helper()
	s := &System{t: t, Dir: shortDir(t), host: host}
	if err := os.WriteFile(filepath.Join(s.Dir, "quintet.yaml"), []byte(topology), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(binary)
	t.Cleanup(func() {
		s.Down()
		if t.Failed() {
			t.Logf("log of the system:\n%s", tail(s.log.String()))
		}
	})
	return s
}

// start starts the supervisor and waits until the system serves.
func (s *System) start(binary string) {
	s.t.Helper()
	file := filepath.Join(s.Dir, "quintet.yaml")
	s.done = make(chan struct{})
	s.up = exec.Command(binary, "up", "--verbose", "--state", s.Dir, "--file", file)
	s.up.Stdout, s.up.Stderr = &s.log, &s.log
	start := s.up.Start
	if s.host != nil {
		start = func() error { return s.host.Start(s.up) }
	}
	if err := start(); err != nil {
		s.t.Fatal(err)
	}
	up, done := s.up, s.done
	go func() { s.err = up.Wait(); close(done) }()
	s.Until("all servers serve and have standbys", func(state *supervisor.State) bool {
		for _, server := range state.Servers {
			if server.Phase != supervisor.PhaseServing || server.Standby && !server.Warm {
				return false
			}
		}
		for _, uplink := range state.Uplinks {
			if !uplink.Serving {
				return false
			}
		}
		return true
	})
}

// KillSupervisor kills the supervisor with SIGKILL.
func (s *System) KillSupervisor() {
	s.t.Helper()
	if err := s.up.Process.Kill(); err != nil {
		s.t.Fatal(err)
	}
	<-s.done
}

// shortDir is a temporary directory whose path leaves room for a socket's name.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "quintet-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func tail(s string) string { return s[max(0, len(s)-8<<10):] }

// Down ends the system, orderly, and waits for its end.
func (s *System) Down() {
	s.t.Helper()
	_ = s.up.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(patience):
		_ = s.up.Process.Kill()
		<-s.done
		s.t.Errorf("the system did not end within %v", patience)
	}
}

// Socket is the supervisor's socket.
func (s *System) Socket() string { return broker.SocketPath(s.Dir) }

// Broker connects to the supervisor.
func (s *System) Broker() (*broker.Client, error) {
	return broker.NewClient(context.Background(), s.Socket(), broker.Hello{Name: "test"}, nil)
}

// Control runs an operation on the system and decodes its report.
func (s *System) Control(verb, target string, report any) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := s.Broker()
	if err != nil {
		return err
	}
	defer c.Close()
	m, err := c.Ask(ctx, &broker.Control{Verb: verb, Target: target})
	if err != nil {
		return err
	}
	defer m.CloseFDs()
	fd, err := unix.Dup(m.FDs[0])
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "report")
	defer f.Close()
	return json.NewDecoder(io.NewSectionReader(f, 0, m.Body.(*broker.Report).Bytes)).Decode(report)
}

// State is what `quintet ps` shows.
func (s *System) State() (*supervisor.State, error) {
	var state supervisor.State
	return &state, s.Control(supervisor.VerbState, "", &state)
}

// Server is the state of one server.
func (s *System) Server(name string) *supervisor.ServerState {
	s.t.Helper()
	state, err := s.State()
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range state.Servers {
		if state.Servers[i].Name == name {
			return &state.Servers[i]
		}
	}
	s.t.Fatalf("there is no server %s", name)
	return nil
}

// Until waits for a condition on the state of the system.
func (s *System) Until(what string, holds func(*supervisor.State) bool) {
	s.t.Helper()
	var last string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(pollPeriod) {
		state, err := s.State()
		if err == nil && holds(state) {
			return
		}
		last = fmt.Sprintf("%+v, %v", state, err)
		select {
		case <-s.done:
			s.t.Fatalf("the system ended (%v) before %s:\n%s", s.err, what, tail(s.log.String()))
		default:
		}
	}
	s.t.Fatalf("it never happened that %s; last state: %s", what, last)
}

const pollPeriod = 5 * time.Millisecond

// KillServer kills the active process of a server, or that of an uplink, with SIGKILL
// and returns its pid, or 0 if there is none at the moment.
func (s *System) KillServer(name string) int {
	s.t.Helper()
	var killed supervisor.Killed
	err := s.Control(supervisor.VerbKill, name, &killed)
	if err != nil && !strings.Contains(err.Error(), "no active process") {
		s.t.Fatal(err)
	}
	return killed.PID
}

// Connect connects this process as an application.
func (s *System) Connect() *app.App {
	s.t.Helper()
	return s.ConnectAs("test")
}

// ConnectAs connects this process as the application of that name.
func (s *System) ConnectAs(name string) *app.App {
	s.t.Helper()
	a, err := app.Connect(context.Background(), app.WithSocket(s.Socket()), app.WithName(name))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = a.Close() })
	return a
}

// Network opens a network as an application of that name.
func (s *System) Network(application, network string) *app.Network {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	n, err := s.ConnectAs(application).Network(ctx, network)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := n.Close(); err != nil {
			s.t.Error(err)
		}
	})
	return n
}

// Volume opens a volume of an application.
func (s *System) Volume(a *app.App, name string, opts ...app.VolumeOption) *app.Volume {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	v, err := a.Volume(ctx, name, opts...)
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}
