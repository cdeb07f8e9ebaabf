package supervisor

import (
	"errors"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
)

const oneVolume = `version: 1
servers: {store: {kind: storage}}
volumes: {data: {server: store, memory: 1MiB}}
applications: {test: {volumes: {data: rw}}}
`

// fill opens sessions until the server has no room for another.
func fill(t *testing.T, c *broker.Client) (sessions []uint64, refusal error) {
	t.Helper()
	for {
		id, err := openSession(t, c)
		if err != nil {
			return sessions, err
		}
		sessions = append(sessions, id)
	}
}

// TestAServerHasRoom for all that it has been given: whoever asks for more than its
// processes could hold is refused by name, and the server dies of nothing and is taken
// over as ever, while it is full.
func TestAServerHasRoom(t *testing.T) {
	const descriptors = 256
	s := startWith(t, oneVolume, func(c *Config) { c.limits = limits{descriptors: descriptors, mappings: mappingsDefault} })
	c := connect(t, s)
	sessions, err := fill(t, c)
	if !errors.Is(err, errLimit) || !strings.Contains(err.Error(), "server store") || len(sessions) != descriptors/2 {
		t.Fatalf("session %d: %v", len(sessions)+1, err)
	}
	for range 3 {
		killActive(t, s)
	}
	for region := range 3 {
		if err := grant(t, c, sessions[len(sessions)-1], region); err != nil {
			t.Errorf("a grant while the server is full: %v", err)
		}
	}
	if state := s.State(); state.Servers[0].Deaths != 3 || state.Servers[0].Sessions != descriptors/2 || state.Applications[0].Failed != 0 {
		t.Errorf("after three kills: %+v", state)
	}
	if m, err := c.Ask(t.Context(), &broker.Close{Session: sessions[0]}); err != nil {
		t.Error(err)
	} else {
		m.CloseFDs()
	}
	if _, err := openSession(t, c); err != nil {
		t.Errorf("a session when another has ended: %v", err)
	}
}

// killActive kills the server and waits until the next one serves.
func killActive(t *testing.T, s *Supervisor) {
	t.Helper()
	s.mu.Lock()
	generation := s.servers[0].generation
	s.servers[0].active.kill()
	for s.servers[0].generation == generation {
		s.changed.Wait()
	}
	s.mu.Unlock()
	wait(t, s)
}

// TestMappingsAreCounted: sessions and regions are refused before a server can map no
// more memory, and their ends make room again.
func TestMappingsAreCounted(t *testing.T) {
	const mappings = 40 // of which half are for applications
	s := startWith(t, oneVolume, func(c *Config) { c.limits = limits{descriptors: serverDescriptorsMax, mappings: mappings} })
	c := connect(t, s)
	for range 2 {
		id, err := openSession(t, c)
		if err != nil {
			t.Fatal(err)
		}
		for region := range mappings/2 - sessionMappings {
			if err := grant(t, c, id, region); err != nil {
				t.Fatalf("region %d: %v", region, err)
			}
		}
		if err := grant(t, c, id, ipc.RegionsMax-1); !errors.Is(err, errLimit) || !strings.Contains(err.Error(), "vm.max_map_count") {
			t.Errorf("one more region: %v", err)
		}
		if _, err := openSession(t, c); !errors.Is(err, errLimit) {
			t.Errorf("one more session: %v", err)
		}
		m, err := c.Ask(t.Context(), &broker.Close{Session: id})
		if err != nil {
			t.Fatal(err)
		}
		m.CloseFDs()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := &s.servers[0].room; r.descriptors.total != 0 || r.mappings.total != 0 {
		t.Errorf("%d descriptors and %d mappings are counted for no session", r.descriptors.total, r.mappings.total)
	}
}
