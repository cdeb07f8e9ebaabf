package supervisor

import (
	"errors"
	"time"

	"github.com/quintet-os/quintet/ipc/broker"
)

// restart hands the server over to a new process of the program as its path names it
// now, and returns when that serves. The program is checked before anything is given
// up, and the server returns to the old one if the new one does not live. One at a
// time: two would kill each other's standby. Supervisor.mu is held, and released while
// waiting.
func (s *server) restart() error {
	if s.restarting {
		return broker.Refuse(broker.CodeDown, "server %s is being restarted already; wait until that has ended", s.config.Name)
	}
	s.restarting = true
	s.sup.changed.Broadcast()
	defer func() { s.restarting = false }()
	s.sup.mu.Unlock()
	next, err := s.sup.adopt()
	s.sup.mu.Lock()
	if err != nil {
		return err
	}
	old := s.program
	s.program = next
	if err = s.handOver(next); err != nil {
		s.program = old
		s.retire(func(p *process) bool { return p.program == next })
	}
	return err
}

// errDied: a process of the new program has died before it served.
var errDied = errors.New("its process has died")

// handOver replaces the standby by a process of the program, and drains the active
// one. Supervisor.mu is held, and released while waiting.
func (s *server) handOver(next *program) error {
	deadline := time.Now().Add(2 * drainMax)
	late := time.AfterFunc(time.Until(deadline), func() {
		s.sup.mu.Lock()
		defer s.sup.mu.Unlock()
		s.sup.changed.Broadcast()
	})
	defer late.Stop()
	wait := func(until func() (bool, error), what string) error {
		for {
			done, err := until()
			if done {
				return nil
			}
			if err != nil {
				return broker.Refuse(broker.CodeDown, "%s: %v (%s); the server goes on with the program it had", what, err, s.lastDeath)
			}
			if s.stopping || time.Now().After(deadline) {
				return broker.Refuse(broker.CodeDown, "%s took too long; the server is %s", what, s.phase())
			}
			s.sup.changed.Wait()
		}
	}
	failures := s.standing.failures
	serves := func() bool { return s.active != nil && s.active.program == next && s.phase() == PhaseServing }
	err := wait(func() (bool, error) {
		s.retire(func(p *process) bool { return p.program != next })
		if s.standing.failures > failures {
			return false, errDied
		}
		return s.standby != nil && s.standby.program == next && s.standbyReady || serves(), nil
	}, "starting a new standby")
	if err != nil || serves() {
		return err
	}
	deaths := s.deaths
	if drained := s.active; drained != nil {
		drained.asked = true
		drained.send(&broker.Drain{}, nil)
		stuck := time.AfterFunc(drainMax, drained.kill)
		defer stuck.Stop()
		deaths++
	}
	return wait(func() (bool, error) {
		if s.deaths > deaths {
			return false, errDied
		}
		return serves(), nil
	}, "handing over")
}

// retire ends the standby, if it is one of those, to have it replaced. Supervisor.mu is
// held.
func (s *server) retire(those func(*process) bool) {
	if old := s.standby; old != nil && those(old) && !old.asked {
		old.asked = true
		old.kill()
	}
}
