package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/ipc/shm"
	networkprocess "github.com/quintet-os/quintet/network/process"
	"github.com/quintet-os/quintet/sandbox"
	storageprocess "github.com/quintet-os/quintet/storage/process"
)

// TestMain lets the supervisor start this test binary as its servers, so that
// the race detector sees the supervisor at work.
func TestMain(m *testing.M) {
	run, is := map[string]func(*broker.Conn, broker.Ready) error{
		"storage-server": storageprocess.Run, "network-server": networkprocess.Run,
	}[os.Args[len(os.Args)-1]]
	if len(os.Args) == 3 && os.Args[1] == "internal" && is {
		if _, err := sandbox.Enter(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		conn, err := broker.FileConn(os.NewFile(3, "control"))
		if misfit := misfits[filepath.Base(os.Args[0])]; misfit != nil {
			run = misfit
		}
		if err == nil {
			err = run(conn, broker.Ready{Release: filepath.Base(os.Args[0])})
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const patience = 30 * time.Second

// start runs a system with one volume in memory.
func start(t *testing.T) *Supervisor {
	t.Helper()
	return startWith(t, `version: 1
servers: {store: {kind: storage}}
volumes: {data: {server: store, memory: 1MiB}}
applications: {test: {volumes: {data: rw}}}
`)
}

// startWith runs a system.
func startWith(t testing.TB, topology string, change ...func(*Config)) *Supervisor {
	t.Helper()
	dir, err := os.MkdirTemp("", "quintet-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	config := Config{StateDir: dir, Binary: self, Topology: parse(t, topology)}
	for _, each := range change {
		each(&config)
	}
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, s.Close()); err != nil {
			t.Error(err)
		}
	})
	wait(t, s)
	return s
}

func wait(t testing.TB, s *Supervisor) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.WaitServing(ctx); err != nil {
		t.Fatal(err)
	}
}

func connect(t *testing.T, s *Supervisor) *broker.Client {
	t.Helper()
	c, err := broker.NewClient(t.Context(), broker.SocketPath(s.state.path), broker.Hello{Name: "test"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// openSession asks for a session and gives back its number.
func openSession(t *testing.T, c *broker.Client) (uint64, error) {
	t.Helper()
	g := ipc.Geometry{Slots: 1}
	segment, err := shm.Create("test", g.ClientBytes(), shm.OneWriter)
	if err != nil {
		t.Fatal(err)
	}
	defer segment.Close()
	if err := ipc.FormatClient(segment.Mem, g); err != nil {
		t.Fatal(err)
	}
	m, err := c.Ask(t.Context(), &broker.Connect{Volume: "data", Geometry: g}, segment.FD)
	if err != nil {
		return 0, err
	}
	m.CloseFDs()
	return m.Body.(*broker.Connected).Session, nil
}

// grant grants a page of memory.
func grant(t *testing.T, c *broker.Client, session uint64, region int) error {
	t.Helper()
	segment, err := shm.Create("test", 4096, shm.Shared)
	if err != nil {
		t.Fatal(err)
	}
	defer segment.Close()
	m, err := c.Ask(t.Context(), &broker.Grant{Session: session, Region: region, Bytes: 4096, Writable: true}, segment.FD)
	m.CloseFDs()
	return err
}

func TestSessionsSurviveDeaths(t *testing.T) {
	s := start(t)
	c := connect(t, s)
	id, err := openSession(t, c)
	if err != nil {
		t.Fatal(err)
	}
	for region := range 5 {
		m, err := c.Ask(t.Context(), &broker.Control{Verb: VerbKill, Target: "store"})
		if err != nil {
			t.Fatal(err)
		}
		m.CloseFDs()
		// The answer comes from whichever process is active by then.
		if err := grant(t, c, id, region); err != nil {
			t.Fatal(err)
		}
		wait(t, s)
	}
	if state := s.State().Servers[0]; state.Deaths != 5 || state.Sessions != 1 {
		t.Errorf("%d deaths, %d sessions", state.Deaths, state.Sessions)
	}
	m, err := c.Ask(t.Context(), &broker.Close{Session: id})
	if err != nil {
		t.Fatal(err)
	}
	m.CloseFDs()
	if state := s.State(); state.Servers[0].Sessions != 0 || len(state.Applications) != 0 {
		t.Errorf("after the end: %+v", state)
	}
}

// TestSessionLimit: an application can make the supervisor keep so much and no
// more, and what it kept goes with the application.
func TestSessionLimit(t *testing.T) {
	before := descriptors(t)
	s := start(t)
	c := connect(t, s)
	quiet := descriptors(t)
	for range sessionsMax {
		if _, err := openSession(t, c); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := openSession(t, c); !errors.Is(err, &broker.Refused{Code: broker.CodeLimit}) {
		t.Errorf("one more session: %v", err)
	}
	if _, err := openSession(t, connect(t, s)); err != nil {
		t.Errorf("another application: %v", err)
	}
	c.Close()
	s.mu.Lock()
	for s.kept.total != applicationDescriptors+sessionDescriptors {
		s.changed.Wait()
	}
	s.mu.Unlock()
	if now := descriptors(t); now > quiet+16 {
		t.Errorf("%d descriptors before any system, %d with one, %d after %d sessions have ended", before, quiet, now, sessionsMax)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestStrangeMessages: whoever breaks the protocol is told so once.
func TestStrangeMessages(t *testing.T) {
	s := start(t)
	for name, send := range map[string]func(c *broker.Conn) error{
		"no hello":       func(c *broker.Conn) error { return c.Send(1, &broker.Close{Session: 1}) },
		"a server's":     func(c *broker.Conn) error { return c.Send(1, &broker.Active{Generation: 1}) },
		"a supervisor's": func(c *broker.Conn) error { return c.Send(1, &broker.Activate{Generation: 1}) },
		"noise":          func(c *broker.Conn) error { return unix.SendPacket(c.Socket(), []byte("\x00\xff noise")) },
		"nothing":        func(c *broker.Conn) error { return unix.SendPacket(c.Socket(), nil) },
		"escapes":        func(c *broker.Conn) error { return c.Send(1, &broker.Hello{Name: "x\x1b[2J\nstore serving"}) },
		"a long name":    func(c *broker.Conn) error { return c.Send(1, &broker.Hello{Name: string(make([]byte, 100))}) },
		"a forged token": func(c *broker.Conn) error { return c.Send(1, &broker.Hello{Name: "x", Domain: "forged"}) },
	} {
		conn, err := broker.Dial(broker.SocketPath(s.state.path))
		if err != nil {
			t.Fatal(err)
		}
		if err := send(conn); err != nil {
			t.Fatal(err)
		}
		m, err := conn.Receive()
		refused, ok := m.Body.(*broker.Refused)
		if !ok || refused.Code != broker.CodeMalformed {
			t.Errorf("%s: answered %+v, %v", name, m.Body, err)
		}
		if _, err := conn.Receive(); err == nil {
			t.Errorf("%s: the connection is still open", name)
		}
		conn.Close()
	}
	if _, err := openSession(t, connect(t, s)); err != nil {
		t.Errorf("an application that behaves: %v", err)
	}
}

func TestStateDirIsHeldOnce(t *testing.T) {
	s := start(t)
	if _, err := New(s.config); !errors.Is(err, ErrBusy) {
		t.Errorf("a second supervisor: %v", err)
	}
}

// TestPardon: a SIGKILL from outside is nobody's fault; a crash and a hang are
// the fault of what was being executed.
func TestPardon(t *testing.T) {
	s := start(t)
	store := s.servers[0]
	for _, c := range []struct {
		name   string
		end    func(p *process)
		pardon bool
	}{
		{"killed", func(p *process) { p.kill() }, true},
		{"crashed", func(p *process) { _ = p.box.Pidfd.Signal(syscall.SIGQUIT) }, false}, // the runtime dumps and exits
		{"hung", func(p *process) { _ = p.box.Pidfd.Signal(syscall.SIGSTOP) }, false},
	} {
		s.mu.Lock()
		generation := store.generation
		c.end(store.active)
		for store.generation == generation {
			s.changed.Wait()
		}
		if store.pardon != c.pardon {
			t.Errorf("%s: pardoned %v, want %v", c.name, store.pardon, c.pardon)
		}
		s.mu.Unlock()
		wait(t, s)
	}
}
