package supervisor

import (
	"os/exec"
	"strconv"
	"testing"

	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/ipc/broker"
)

// TestStandbyThatCannotMap: a standby that has no room for a session is replaced, and
// the session goes on: the process that serves it has it.
func TestStandbyThatCannotMap(t *testing.T) {
	testenv.RequireRoot(t)
	s := start(t)
	c := connect(t, s)
	store := s.servers[0]
	s.mu.Lock()
	poor := store.standby
	s.mu.Unlock()
	if out, err := exec.Command("prlimit", "--pid", strconv.Itoa(poor.pid), "--as=1048576").CombinedOutput(); err != nil {
		t.Fatalf("prlimit: %v: %s", err, out)
	}
	id, err := openSession(t, c)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	for store.standby == poor {
		s.changed.Wait()
	}
	failed := store.sessions[id].failed
	s.mu.Unlock()
	if failed != "" {
		t.Fatalf("the session has ended: %s", failed)
	}
	wait(t, s)
	if err := grant(t, c, id, 0); err != nil {
		t.Errorf("a grant later: %v", err)
	}
	if state := s.State(); state.Servers[0].Deaths != 0 || state.Applications[0].Failed != 0 {
		t.Errorf("%d deaths, %d sessions failed", state.Servers[0].Deaths, state.Applications[0].Failed)
	}
}

// TestOnlyTheActiveServerEndsSessions: the word of any other process counts for
// nothing.
func TestOnlyTheActiveServerEndsSessions(t *testing.T) {
	s := start(t)
	c := connect(t, s)
	id, err := openSession(t, c)
	if err != nil {
		t.Fatal(err)
	}
	store := s.servers[0]
	s.mu.Lock()
	active, standby := store.active, store.standby
	s.mu.Unlock()
	failed := func(p *process) string {
		store.sessionFailed(p, &broker.SessionFailed{Session: id, Reason: "test"})
		s.mu.Lock()
		defer s.mu.Unlock()
		return store.sessions[id].failed
	}
	if reason := failed(standby); reason != "" {
		t.Errorf("the standby has ended a session: %s", reason)
	}
	if reason := failed(active); reason != "test" {
		t.Errorf("the active server has not ended a session: %q", reason)
	}
}
