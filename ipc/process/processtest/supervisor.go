// Package processtest plays the supervisor of one server process, for tests. The server
// runs on a goroutine of the test, over mappings of its own, which are really
// unmapped: an access after that ends the test.
package processtest

import (
	"encoding/json"
	"testing"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/ipc/shm"
)

// Supervisor has one server process. It belongs to the test's goroutine.
type Supervisor struct {
	// Told is what the server has said unasked, in order.
	Told []broker.Body

	t    testing.TB
	conn *broker.Conn
	done chan error
	ref  uint64
}

// Start runs a server, which is ready as a standby then, until the test ends.
func Start(t testing.TB, run func(*broker.Conn, broker.Ready) error) *Supervisor {
	t.Helper()
	conn, there, err := broker.Pair()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := broker.FileConn(there)
	if err != nil {
		t.Fatal(err)
	}
	s := &Supervisor{t: t, conn: conn, done: make(chan error, 1)}
	go func() {
		s.done <- run(theirs, broker.Ready{})
		close(s.done)
		theirs.Close()
	}()
	t.Cleanup(func() {
		conn.Close()
		if err := <-s.done; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	s.until(func(m *broker.Message) bool { _, ready := m.Body.(*broker.Ready); return ready })
	return s
}

// until receives until a message is the one that is waited for.
func (s *Supervisor) until(is func(*broker.Message) bool) {
	s.t.Helper()
	for {
		m, err := s.conn.Receive()
		if err != nil {
			s.t.Fatalf("the server has gone: %v, %v", err, <-s.done)
		}
		m.CloseFDs()
		if is(&m) {
			return
		}
		s.Told = append(s.Told, m.Body)
	}
}

// Next is what the server says next, unasked.
func (s *Supervisor) Next() broker.Body {
	s.t.Helper()
	var next broker.Body
	s.until(func(m *broker.Message) bool {
		next = m.Body
		return true
	})
	return next
}

// Send tells the server something that it does not answer.
func (s *Supervisor) Send(body broker.Body, fds ...int) {
	s.t.Helper()
	if err := s.conn.Send(0, body, fds...); err != nil {
		s.t.Fatal(err)
	}
}

// Ask tells the server something and waits for its answer.
func (s *Supervisor) Ask(body broker.Body, fds ...int) {
	s.t.Helper()
	s.ref++
	if err := s.conn.Send(s.ref, body, fds...); err != nil {
		s.t.Fatal(err)
	}
	s.until(func(m *broker.Message) bool { return m.Ref == s.ref })
}

// Memory returns memory that is unmapped when the test ends.
func (s *Supervisor) Memory(bytes int, kind shm.Kind) *shm.Segment {
	s.t.Helper()
	m, err := shm.Create("test", bytes, kind)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { m.Close() })
	return m
}

// Status passes the segment of the server's status.
func (s *Supervisor) Status() {
	s.t.Helper()
	s.Ask(&broker.Status{Server: "test"}, s.Memory(broker.StatusBytes, shm.Shared).FD)
}

// Activate has the server take over, and waits until it has.
func (s *Supervisor) Activate(generation uint64) {
	s.t.Helper()
	s.Send(&broker.Activate{Generation: generation})
	s.until(func(m *broker.Message) bool { _, active := m.Body.(*broker.Active); return active })
}

// Connect makes a session and gives it to the server.
func (s *Supervisor) Connect(id uint64, g ipc.Geometry, terms any) *ipc.Client {
	s.t.Helper()
	mine, theirs := s.Memory(g.ClientBytes(), shm.OneWriter), s.Memory(g.ServerBytes(), shm.Shared)
	if err := ipc.FormatClient(mine.Mem, g); err != nil {
		s.t.Fatal(err)
	}
	if err := ipc.FormatServer(theirs.Mem, g); err != nil {
		s.t.Fatal(err)
	}
	doorbell, err := unix.CreateEventfd()
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := ipc.NewClient(ipc.ClientConfig{Geometry: g, Client: mine.Mem, Server: theirs.Mem, Doorbell: doorbell})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		c.Close()
		unix.Close(doorbell)
	})
	body := &broker.Session{ID: id, Client: "test", Geometry: g}
	if body.Terms, err = json.Marshal(terms); err != nil {
		s.t.Fatal(err)
	}
	s.Send(body, mine.FD, theirs.FD, doorbell)
	return c
}

// Grant gives the server memory of a session.
func (s *Supervisor) Grant(session uint64, region, bytes int) []byte {
	s.t.Helper()
	m := s.Memory(bytes, shm.Shared)
	s.Ask(&broker.Region{Session: session, Region: region, Bytes: int64(bytes), Writable: true}, m.FD)
	return m.Mem
}

// Drop takes a session away, and returns when the server has let go of it.
func (s *Supervisor) Drop(session uint64) {
	s.t.Helper()
	s.Ask(&broker.Drop{Session: session})
}
