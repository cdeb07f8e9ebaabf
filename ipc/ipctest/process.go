package ipctest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/shm"
)

// serveEnv makes a test binary the server of a Process: it holds the generation.
// sessionsEnv holds the number of sessions.
const (
	serveEnv    = "QUINTET_IPCTEST_SERVE"
	sessionsEnv = "QUINTET_IPCTEST_SESSIONS"
)

// firstFD is the first descriptor a server inherits: its pipe, and then three of
// each session: client segment, server segment, doorbell.
const firstFD = 3

// Process is a System whose server is a process of its own.
type Process struct {
	t       testing.TB
	clients []*ipc.Client
	files   []*os.File // of all sessions, inherited by servers

	mu      sync.Mutex // guards what follows
	server  *os.Process
	serving chan struct{} // closed when the next server serves
	closing bool
	ended   chan struct{}
}

// NewProcess starts a system of that many sessions, which ends with the test. The
// test binary's TestMain must call ServeInherited first.
func NewProcess(t testing.TB, sessions int) *Process {
	p := &Process{t: t, serving: make(chan struct{}), ended: make(chan struct{})}
	for i := range sessions {
		if err := p.connect(i); err != nil {
			t.Fatal(err)
		}
	}
	serving := p.serving
	go p.supervise()
	t.Cleanup(p.close)
	select {
	case <-serving:
	case <-p.ended:
	}
	return p
}

// connect makes the memory of a session, as application and supervisor do.
func (p *Process) connect(session int) error {
	mine, err := shm.Create(fmt.Sprintf("client-%d", session), Geometry.ClientBytes(), shm.OneWriter)
	if err != nil {
		return err
	}
	kept, err := shm.Create(fmt.Sprintf("server-%d", session), Geometry.ServerBytes(), shm.Shared)
	if err != nil {
		return err
	}
	doorbell, err := unix.CreateEventfd()
	if err != nil {
		return err
	}
	readOnly, err := kept.ReadOnlyFD()
	if err != nil {
		return err
	}
	theirs, err := shm.Open(readOnly, Geometry.ServerBytes(), false)
	if err != nil {
		return err
	}
	if err := ipc.FormatClient(mine.Mem, Geometry); err != nil {
		return err
	}
	if err := ipc.FormatServer(kept.Mem, Geometry); err != nil {
		return err
	}
	client, err := ipc.NewClient(ipc.ClientConfig{Geometry: Geometry, Client: mine.Mem, Server: theirs.Mem, Doorbell: doorbell})
	if err != nil {
		return err
	}
	p.clients = append(p.clients, client)
	for _, fd := range []int{mine.FD, kept.FD, doorbell} {
		p.files = append(p.files, os.NewFile(uintptr(fd), "session"))
	}
	// The mappings stay for the life of the test process.
	return theirs.CloseFD()
}

// Client returns the client of a session.
func (p *Process) Client(session int) *ipc.Client { return p.clients[session] }

// Kill sends SIGKILL to the server and returns when its successor serves.
func (p *Process) Kill() {
	p.mu.Lock()
	serving := p.serving
	if p.server != nil {
		// It may be dead already: then its successor is on the way.
		_ = p.server.Kill()
	}
	p.mu.Unlock()
	select {
	case <-serving:
	case <-p.ended:
	}
}

// supervise starts one server after the other.
func (p *Process) supervise() {
	defer close(p.ended)
	for generation := 1; ; generation++ {
		server, err := p.launch(generation)
		if err != nil {
			p.t.Errorf("start server %d: %v", generation, err)
			return
		}
		if server == nil {
			return
		}
		state, err := server.Wait()
		if err != nil {
			p.t.Error(err)
			return
		}
		if status, ok := state.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
			p.t.Errorf("server %d ended with %v", generation, state)
			return
		}
	}
}

// launch starts a server and waits until it serves; nil at the end of the test.
func (p *Process) launch(generation int) (*os.Process, error) {
	ready, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), serveEnv+"="+strconv.Itoa(generation), sessionsEnv+"="+strconv.Itoa(len(p.clients)))
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = append([]*os.File{theirs}, p.files...)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return nil, nil
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	theirs.Close()
	// A server that dies before it serves closes the pipe without a byte, and has
	// said why.
	if n, err := ready.Read(make([]byte, 1)); n == 0 {
		_ = cmd.Process.Kill()
		return nil, fmt.Errorf("it did not come up: %w", err)
	}
	p.server = cmd.Process
	close(p.serving)
	p.serving = make(chan struct{})
	return cmd.Process, nil
}

func (p *Process) close() {
	for _, c := range p.clients {
		c.Close()
	}
	p.mu.Lock()
	p.closing = true
	if p.server != nil {
		_ = p.server.Kill()
	}
	p.mu.Unlock()
	<-p.ended
	for _, f := range p.files {
		f.Close()
	}
}

// ServeInherited is the server process of a Process: it returns at once in every
// other process, and never in that one.
func ServeInherited() {
	generation, err := strconv.ParseUint(os.Getenv(serveEnv), 10, 64)
	if err != nil {
		return
	}
	sessions, err := strconv.Atoi(os.Getenv(sessionsEnv))
	if err == nil {
		err = serveInherited(generation, sessions)
	}
	fmt.Fprintln(os.Stderr, "ipctest server:", err)
	os.Exit(1)
}

func serveInherited(generation uint64, sessions int) error {
	a := newAnswerer(generation, func() {
		self, _ := os.FindProcess(os.Getpid()) // never fails on Linux
		_ = self.Kill()
		select {}
	})
	l, err := ipc.NewLoop(ipc.LoopConfig{Core: a, Sessions: a.sessions})
	if err != nil {
		return err
	}
	for i := range sessions {
		fd := firstFD + 1 + 3*i
		client, err := shm.Open(fd, Geometry.ClientBytes(), false)
		if err != nil {
			return err
		}
		server, err := shm.Open(fd+1, Geometry.ServerBytes(), true)
		if err != nil {
			return err
		}
		err = a.attach(l, ipc.SessionConfig{ID: uint64(i), Geometry: Geometry, Client: client.Mem, Server: server.Mem, Doorbell: fd + 2})
		if err != nil {
			return err
		}
	}
	if _, err := os.NewFile(firstFD, "ready").Write([]byte{1}); err != nil {
		return err
	}
	return l.Run(context.Background())
}
