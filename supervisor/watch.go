package supervisor

import (
	"context"
	"log/slog"
	"syscall"
	"time"
)

// watchDeath waits for the end of a process and hands its part to another.
func (s *server) watchDeath(p *process) {
	_ = p.box.Pidfd.Wait()
	ended := time.Now()
	starved := p.box.OutOfMemory()
	s.sup.mu.Lock()
	s.service.ended(p)
	wasActive := p == s.active
	if wasActive {
		s.diedAt = ended
		s.activeDied(p, starved)
		for _, session := range s.sessions {
			session.died()
		}
	} else if p == s.standby {
		s.standby, s.standbyReady = nil, false
		if !p.asked {
			s.launchAt = time.Now().Add(s.standing.failed())
		}
	}
	for _, session := range s.sessions {
		session.letGo(p)
	}
	s.ensure()
	s.sup.mu.Unlock()
	end := p.bury()
	if starved {
		end = s.outOfMemory(p.limit)
	}
	s.sup.mu.Lock()
	defer s.sup.mu.Unlock()
	if wasActive || !p.asked {
		s.lastDeath = end
	}
	slog.Info("server process ended", "server", s.config.Name, "pid", p.pid, "active", wasActive, "end", end)
}

func (s *server) activeDied(p *process, starved bool) {
	s.active = nil
	s.deaths++
	// A server that dies of a request crashes or hangs. SIGKILL comes from
	// outside, unless the supervisor sent it to end a hang, or the kernel for want of memory: whatever was being
	// executed is as innocent as before.
	s.pardon = !p.hung && !starved && p.box.Pidfd.EndedBy(syscall.SIGKILL)
	served := s.status.served() > s.servedBefore
	if p.asked {
		return
	}
	if starved {
		// It may have served well until then, and so may the next, as often as a client
		// likes: it counts as a failure, unless the process has lived long.
		s.starved++
		if time.Since(p.since) > s.serving.Reset {
			s.serving.progressed()
		}
		s.activateAt = time.Now().Add(s.serving.failed())
		return
	}
	if served || !s.recoveredAt.IsZero() && time.Since(s.recoveredAt) > s.serving.Reset {
		s.serving.progressed()
		return
	}
	s.activateAt = time.Now().Add(s.serving.failed())
}

// watchBeats looks at all servers again and again. Where it has not looked for long, the
// supervisor was stopped itself, and the servers may have been with it: they get their
// time once more.
func (s *Supervisor) watchBeats(ctx context.Context) {
	tick := time.NewTicker(watchPeriod)
	defer tick.Stop()
	resumed := time.Now()
	for last := resumed; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C: // which may have been waiting
		}
		s.mu.Lock()
		now, hangMax := time.Now(), s.config.Topology.Supervisor.HeartbeatTimeout
		if now.Sub(last) > hangMax/2 {
			resumed = now
		}
		last = now
		for _, each := range s.servers {
			each.beat(now, resumed, hangMax)
		}
		s.mu.Unlock()
	}
}

// beat kills the active process if its heartbeat stands still, and a standby that
// leaves a message unread or unanswered, for longer than hangMax. The active process may
// well leave one unanswered: it lets go of a session only when a device, slow as
// it may be, has. Nobody is silent for longer than the supervisor has watched, since
// resumed. Supervisor.mu is held.
func (s *server) beat(now, resumed time.Time, hangMax time.Duration) {
	for _, p := range s.processes() {
		var age time.Duration
		if p == s.active {
			age = min(s.status.silence(now), now.Sub(s.activatedAt))
		} else {
			age = p.unanswered(now)
		}
		if age = min(age, now.Sub(resumed)); age > hangMax {
			s.kills++
			p.hung = true
			slog.Warn("server hangs: killing it", "server", s.config.Name, "pid", p.pid, "silent", age.Round(time.Millisecond))
			p.kill()
		}
	}
}
