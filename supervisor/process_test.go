package supervisor

import (
	"errors"
	"syscall"
	"testing"
	"time"
)

// TestCrowdedServer: while a process does not take its messages, its server is
// given no more sessions and regions; the process is replaced, and then it is.
func TestCrowdedServer(t *testing.T) {
	s := start(t)
	c := connect(t, s)
	store := s.servers[0]
	s.mu.Lock()
	s.queueMax = 8 // more than wait for a moment at a process that reads
	patient := s.config.Topology.Supervisor.HeartbeatTimeout
	s.config.Topology.Supervisor.HeartbeatTimeout = time.Hour
	stopped := store.standby
	err := stopped.box.Pidfd.Signal(syscall.SIGSTOP)
	s.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	var sessions []uint64
	for err == nil {
		var id uint64
		if id, err = openSession(t, c); err == nil {
			sessions = append(sessions, id)
		}
		if len(sessions) == sessionsMax {
			t.Fatalf("%d sessions have been offered to a process that reads none", sessionsMax)
		}
	}
	if !errors.Is(err, errLimit) {
		t.Fatalf("session %d: %v", len(sessions)+1, err)
	}
	if err := grant(t, c, sessions[0], 0); !errors.Is(err, errLimit) {
		t.Errorf("a grant: %v", err)
	}
	// Nothing of what waits wants an answer: its age alone ends the process.
	s.mu.Lock()
	s.config.Topology.Supervisor.HeartbeatTimeout = patient
	for store.standby == stopped {
		s.changed.Wait()
	}
	s.queueMax = queueMax // a new process is told of all sessions at once
	s.mu.Unlock()
	wait(t, s)
	if _, err := openSession(t, c); err != nil {
		t.Errorf("a session later: %v", err)
	}
	if err := grant(t, c, sessions[0], 0); err != nil {
		t.Errorf("a grant later: %v", err)
	}
	if state := s.State().Servers[0]; state.Deaths != 0 || state.Hangs != 1 {
		t.Errorf("%d deaths, %d hangs", state.Deaths, state.Hangs)
	}
}
