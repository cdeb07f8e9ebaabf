package supervisor

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/supervisor/topology"
)

// ownProgram names the program of this process, also when its path names another.
const ownProgram = "/proc/self/exe"

// probeMax is the time that a program gets to start before it is adopted.
const probeMax = 5 * time.Second

// program is a file that servers and uplinks are started from. It is kept open: what
// replaces a process that has died is what has died, whatever its path names by now.
// The file is closed when the last process and server have forgotten it.
type program struct {
	path    string
	file    *os.File
	release string // as it has reported it; empty for the one the supervisor began with
}

func openProgram(path string) (*program, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the program of the servers: %w", err)
	}
	return &program{path: path, file: f}, nil
}

// adopt returns the program that the configured path names now, if it starts in the
// sandbox and speaks this supervisor's protocol and layout. It is called without
// locks.
func (s *Supervisor) adopt() (*program, error) {
	next, err := openProgram(s.config.Binary)
	if err == nil {
		err = s.probe(next)
	}
	if err != nil {
		return nil, broker.Refuse(broker.CodeVersion, "%s cannot replace what runs, which goes on: %v", s.config.Binary, err)
	}
	slog.Info("program adopted", "path", next.path, "release", next.release)
	return next, nil
}

// probe starts the program as a server that has nothing to serve.
func (s *Supervisor) probe(of *program) error {
	p, err := s.start(topology.Server{Name: "probe", Kind: topology.Storage}, of, 0)
	if err != nil {
		return err
	}
	m, err := broker.Message{}, p.conn.Socket().SetReadDeadline(time.Now().Add(probeMax))
	if err == nil {
		m, err = p.conn.Receive()
	}
	m.CloseFDs()
	p.kill()
	p.bury()
	if err != nil {
		return fmt.Errorf("it does not start: %w", err)
	}
	ready, ok := m.Body.(*broker.Ready)
	if !ok {
		return fmt.Errorf("it does not start as a server does")
	}
	of.release = ready.Release
	return checkLayout(ready)
}

// checkLayout refuses a program that would end every session when it takes over.
func checkLayout(r *broker.Ready) error {
	if r.Layout != ipc.Layout {
		return fmt.Errorf("release %q has layout %d of shared memory, the sessions have %d; end the system with `quintet down` and start it with the new release", r.Release, r.Layout, ipc.Layout)
	}
	return nil
}
