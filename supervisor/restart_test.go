package supervisor

import (
	"errors"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/ipc/broker"
)

// TestOneRestartAtATime: of two restarts at once one is refused, the other is
// done; after it there may be another.
func TestOneRestartAtATime(t *testing.T) {
	s := start(t)
	c := connect(t, s)
	store := s.servers[0]
	restart := func() error {
		m, err := c.Ask(t.Context(), &broker.Control{Verb: VerbRestart, Target: "store"})
		m.CloseFDs()
		return err
	}
	first := make(chan error, 1)
	go func() { first <- restart() }()
	s.mu.Lock()
	for !store.restarting {
		s.changed.Wait()
	}
	// Called as a.restart does, while the first one waits.
	err := store.restart()
	s.mu.Unlock()
	var refused *broker.Refused
	if !errors.As(err, &refused) || refused.Code != broker.CodeDown || !strings.Contains(refused.Reason, "store") {
		t.Errorf("the second restart: %v", err)
	}
	if err := <-first; err != nil {
		t.Errorf("the first restart: %v", err)
	}
	wait(t, s)
	if err := restart(); err != nil {
		t.Errorf("a restart later: %v", err)
	}
	if generation := s.State().Servers[0].Generation; generation != 3 {
		t.Errorf("generation %d after two restarts", generation)
	}
}
