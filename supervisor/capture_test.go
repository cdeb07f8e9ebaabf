package supervisor

import (
	"testing"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc/broker"
)

// TestTheEndOfAnotherCapture: a server that reports the end of a capture, when another
// has taken its place, ends nothing.
func TestTheEndOfAnotherCapture(t *testing.T) {
	s := startWith(t, walkTopology)
	c := connect(t, s)
	id, _, err := openPort(t, c, "lan")
	if err != nil {
		t.Fatal(err)
	}
	var readers []int
	capture := func() {
		t.Helper()
		a, b, err := unix.SocketPair()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { a.Close() })
		readers = append(readers, int(a.Fd()))
		if _, err := c.Ask(t.Context(), &broker.Capturing{Network: "lan", Port: "test"}, int(b.Fd())); err != nil {
			t.Fatal(err)
		}
		b.Close()
	}
	capture()
	capture()
	net := s.serverByName("net")
	for _, report := range []struct {
		number uint64
		goesOn bool
	}{{1, true}, {2, false}} {
		net.service.(*networks).captured(&broker.Captured{Session: id, Number: report.number})
		s.mu.Lock()
		if goesOn := net.sessions[id].port().capturing != nil; goesOn != report.goesOn {
			t.Errorf("after the end of capture %d, the second of %d goes on: %v", report.number, len(readers), goesOn)
		}
		s.mu.Unlock()
	}
}
