package supervisor

import (
	"time"

	"github.com/quintet-os/quintet/ipc/broker"
)

// restart replaces the standby by a process of the binary as it is now, drains
// the active process and waits until the new one serves. One at a time: two would
// kill each other's standby. Supervisor.mu is held, and released while waiting.
func (s *server) restart() error {
	if s.restarting {
		return broker.Refuse(broker.CodeDown, "server %s is being restarted already; wait until that has ended", s.config.Name)
	}
	s.restarting = true
	defer func() { s.restarting = false }()
	deadline := time.Now().Add(2 * drainMax)
	late := time.AfterFunc(time.Until(deadline), func() {
		s.sup.mu.Lock()
		defer s.sup.mu.Unlock()
		s.sup.changed.Broadcast()
	})
	defer late.Stop()
	wait := func(until func() bool, what string) error {
		for !until() {
			if s.stopping || time.Now().After(deadline) {
				return broker.Refuse(broker.CodeDown, "%s took too long; the server is %s", what, s.phase())
			}
			s.sup.changed.Wait()
		}
		return nil
	}
	if old := s.standby; old != nil {
		s.retiring = old
		old.kill()
	}
	if err := wait(func() bool { return s.standby != nil && s.standby != s.retiring && s.standbyReady }, "starting a new standby"); err != nil {
		return err
	}
	generation := s.generation
	if drained := s.active; drained != nil {
		drained.asked = true
		drained.send(&broker.Drain{}, nil, false)
		stuck := time.AfterFunc(drainMax, drained.kill)
		defer stuck.Stop()
	}
	return wait(func() bool { return s.generation > generation && s.phase() == PhaseServing }, "handing over")
}
