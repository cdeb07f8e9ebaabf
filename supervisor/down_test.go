package supervisor

import (
	"os"
	"testing"
	"time"

	"github.com/quintet-os/quintet/ipc/broker"
)

// slowEnd is a service whose end takes until it is let go.
type slowEnd struct {
	service
	release chan struct{}
}

func (s *slowEnd) close() {
	<-s.release
	s.service.close()
}

// TestWhoAsksForTheEndWaitsForAllOfIt: his connection is the last to be closed.
func TestWhoAsksForTheEndWaitsForAllOfIt(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{StateDir: t.TempDir(), Binary: self, Topology: parse(t, walkTopology)})
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- s.Run(t.Context()) }()
	wait(t, s)
	asker, other := connect(t, s), connect(t, s)
	end := &slowEnd{service: s.servers[0].service, release: make(chan struct{})}
	s.mu.Lock()
	s.servers[0].service = end
	s.mu.Unlock()
	m, err := asker.Ask(t.Context(), &broker.Control{Verb: VerbDown})
	if m.CloseFDs(); err != nil {
		t.Fatal(err)
	}
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	<-other.Gone()
	select {
	case <-asker.Gone():
		t.Error("the connection has ended before the system has")
	case <-time.After(100 * time.Millisecond): // it does not
	}
	close(end.release)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	<-asker.Gone()
}
