package supervisor

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/sandbox"
	"github.com/quintet-os/quintet/supervisor/topology"
)

// start launches a process of a server in its sandbox, with so many rings at most.
func (s *Supervisor) start(config topology.Server, of *program, rings int) (*process, error) {
	conn, there, err := broker.Pair()
	if err != nil {
		return nil, fmt.Errorf("make a control connection: %w", err)
	}
	defer there.Close()
	read, write, err := os.Pipe()
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("make a pipe for a server's log: %w", err)
	}
	defer write.Close()
	box, err := s.launcher.Start(sandbox.Spec{
		Path:   of.path,
		File:   of.file,
		Args:   []string{"internal", string(config.Kind) + "-server"},
		Files:  []*os.File{there},
		Stderr: write,
		Profile: sandbox.Profile{
			Name: string(config.Kind) + "/" + config.Name, Calls: kinds[config.Kind].calls, Rings: rings,
			Limits: sandbox.Limits{MemoryBytes: config.Memory, Descriptors: s.limits.descriptors},
		},
	})
	if err != nil {
		_ = conn.Close()
		_ = read.Close()
		return nil, err
	}
	go logLines(config.Name, box.Pid, read)
	return newProcess(config.Name, of, box, conn), nil
}

// launch starts a process and hands it everything the supervisor keeps.
func (s *server) launch(of *program, memory int64) {
	config := s.config
	config.Memory = memory
	p, err := s.sup.start(config, of, s.service.rings())
	var offer func(*process)
	var forget func()
	if err == nil {
		offer, forget = s.service.open()
	}
	s.sup.mu.Lock()
	defer s.sup.mu.Unlock()
	s.launching = false
	if err != nil {
		s.lastDeath = err.Error()
		slog.Error("start a server", "server", s.config.Name, "err", err)
		s.launchAt = time.Now().Add(s.standing.failed())
		s.ensure()
		return
	}
	if s.stopping {
		forget()
		p.kill()
		s.sup.reaping.Go(func() { p.bury() })
		s.sup.changed.Broadcast()
		return
	}
	offer(p)
	for _, session := range s.sessions {
		if session.dropping == nil || !session.dropping.fenced {
			session.offer(p)
		}
	}
	// Answered last, and so the sign that all of the above has been taken.
	p.send(&broker.Status{Server: s.config.Name}, func() { s.stands(p) }, s.status.file)
	s.standby = p
	p.limit = memory
	s.adjustMemory()
	s.sup.reaping.Go(func() { s.watchDeath(p) })
	go s.receive(p)
	s.ensure()
}

// receive handles the messages of one process until it closes or breaks the
// protocol; a process that cannot be talked to is killed.
func (s *server) receive(p *process) {
	for {
		m, err := p.conn.Receive()
		if err != nil {
			p.kill()
			return
		}
		m.CloseFDs()
		switch body := m.Body.(type) {
		case *broker.Done:
			p.answered(m.Ref)
		case *broker.Ready:
			s.ready(p, body)
		case *broker.Active:
			s.recovered(p, body)
		case *broker.SessionFailed:
			s.sessionFailed(p, body)
		case *broker.Pinned:
			s.regionPinned(body)
		default:
			if s.service.receive(p, body) {
				continue
			}
			slog.Error("a server sent what it must not", "server", s.config.Name, "pid", p.pid)
			p.kill()
			return
		}
	}
}

func (s *server) ready(p *process, r *broker.Ready) {
	s.sup.mu.Lock()
	defer s.sup.mu.Unlock()
	s.degraded, p.program.release = r.Degraded, r.Release
	if err := checkLayout(r); err != nil {
		slog.Error("a server does not fit", "server", s.config.Name, "pid", p.pid, "err", err)
		p.kill()
	}
}

// stands notes that a process has taken all it was offered.
func (s *server) stands(p *process) {
	s.sup.mu.Lock()
	defer s.sup.mu.Unlock()
	s.standing.progressed()
	if p == s.standby {
		s.standbyReady = true
	}
	s.sup.changed.Broadcast()
}

func (s *server) recovered(p *process, a *broker.Active) {
	s.sup.mu.Lock()
	defer s.sup.mu.Unlock()
	if p != s.active || a.Generation != s.generation {
		return
	}
	s.recoveredAt = time.Now()
	slog.Info("server serves", "server", s.config.Name, "pid", p.pid, "generation", a.Generation,
		"sessions", len(s.sessions), "after", s.recoveredAt.Sub(s.activatedAt).Round(time.Microsecond))
	s.logTakeover(a)
	s.ensure()
}

// logTakeover says how long each step of a takeover has taken.
func (s *server) logTakeover(a *broker.Active) {
	last := s.diedAt
	if last.IsZero() {
		last = s.activatedAt
	}
	times := []any{"server", s.config.Name, "generation", a.Generation, "died", last.UTC().Format("15:04:05.000000")}
	for _, step := range []struct {
		name string
		at   time.Time
	}{
		{"activated", s.activatedAt},
		{"received", time.Unix(0, a.ReceivedNs)},
		{"fenced", time.Unix(0, a.FencedNs)},
		{"attached", time.Unix(0, a.AttachedNs)},
		{"answered", time.Unix(0, a.AnsweredNs)},
		{"reported", s.recoveredAt},
	} {
		times = append(times, step.name, step.at.Sub(last).Round(time.Microsecond))
		last = step.at
	}
	slog.Debug("takeover", times...)
}

// sessionFailed ends a session at the word of the process that serves it, and of no
// other.
func (s *server) sessionFailed(p *process, f *broker.SessionFailed) {
	s.sup.mu.Lock()
	defer s.sup.mu.Unlock()
	session := s.sessions[f.Session]
	if p != s.active || session == nil || session.failed != "" {
		return
	}
	session.failed = f.Reason
	slog.Warn("session failed", "server", s.config.Name, "application", session.app.name, "uid", session.app.peer.UID, "session", f.Session, "reason", f.Reason)
	session.app.tell(&broker.Ended{Session: f.Session, Reason: f.Reason})
}

func (s *server) regionMapped(r *region, p *process) {
	s.sup.mu.Lock()
	defer s.sup.mu.Unlock()
	r.mapped[p] = true
	r.settle(s.active)
}

// regionPinned keeps for all later standbys what the active server has pinned.
func (s *server) regionPinned(b *broker.Pinned) {
	s.sup.mu.Lock()
	defer s.sup.mu.Unlock()
	session := s.sessions[b.Session]
	if session == nil || session.regions[b.Region] == nil {
		return
	}
	r := session.regions[b.Region]
	if len(r.pinned) >= pinnedMax {
		return
	}
	r.pinned = append(r.pinned, b.Piece)
	if s.standby != nil && session.dropping == nil {
		session.offerPin(r, b.Piece, s.standby)
	}
}
