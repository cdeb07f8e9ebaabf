package supervisor

import (
	"errors"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/ipc/shm"
)

var errLimit = &broker.Refused{Code: broker.CodeLimit}

// TestQuota: one user has at most half, root and the supervisor's user have what
// is left.
func TestQuota(t *testing.T) {
	const own, other, third = 5, 1000, 1001
	q := newQuota(descriptorsReserved+600, own)
	for _, c := range []struct {
		uid  uint32
		n    int
		want bool
	}{
		{other, 301, false}, {other, 300, true}, {other, 1, false},
		{third, 100, true}, {own, 150, true}, {0, 50, true}, {0, 1, false}, {third, 1, false},
	} {
		if got := q.take(c.uid, c.n); (got == nil) != c.want || got != nil && !errors.Is(got, errLimit) {
			t.Errorf("uid %d takes %d: %v", c.uid, c.n, got)
		}
	}
	q.give(0, 50)
	q.give(other, 300)
	q.give(third, 100)
	q.give(own, 150)
	if q.total != 0 || len(q.byUser) != 0 {
		t.Errorf("left: %+v", q)
	}
	if small := newQuota(600, own); small.max != 300 {
		t.Errorf("of 600 descriptors %d are for applications", small.max)
	}
}

// TestDescriptorsAreCounted: connect and grant are refused when what is kept is
// all that may be, the connection goes on, and ending gives everything back.
func TestDescriptorsAreCounted(t *testing.T) {
	s := start(t)
	c := connect(t, s)
	id, err := openSession(t, c)
	if err != nil {
		t.Fatal(err)
	}
	keeps := func(n int) int { // once everything else is closed
		s.mu.Lock()
		defer s.mu.Unlock()
		for s.kept.total != n {
			s.changed.Wait()
		}
		return n
	}
	s.mu.Lock()
	most := s.kept.max
	s.mu.Unlock()
	set := func(n int) {
		s.mu.Lock()
		s.kept.max = n
		s.mu.Unlock()
	}
	set(keeps(applicationDescriptors + sessionDescriptors))
	if err := grant(t, c, id, 0); !errors.Is(err, errLimit) {
		t.Errorf("a grant: %v", err)
	}
	if _, err := openSession(t, c); !errors.Is(err, errLimit) {
		t.Errorf("a session: %v", err)
	}
	if _, err := broker.NewClient(t.Context(), broker.SocketPath(s.state.path), broker.Hello{Name: "test"}, nil); !errors.Is(err, errLimit) {
		t.Errorf("an application: %v", err)
	}
	set(most)
	if err := grant(t, c, id, 0); err != nil {
		t.Errorf("a grant once there is room: %v", err)
	}
	if _, err := c.Ask(t.Context(), &broker.Close{Session: id}); err != nil {
		t.Fatal(err)
	}
	keeps(applicationDescriptors)
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.kept.total != 0 { // nothing else changes it any more
		s.changed.Wait()
	}
}

// TestNoRoomForDescriptors: an application whose memory the supervisor cannot
// receive is told so and keeps its connection.
func TestNoRoomForDescriptors(t *testing.T) {
	s := start(t)
	c := connect(t, s)
	g := ipc.Geometry{Slots: 1}
	segment, err := shm.Create("test", g.ClientBytes(), shm.OneWriter)
	if err != nil {
		t.Fatal(err)
	}
	defer segment.Close()
	soft, hard, err := unix.Limits(unix.LimitDescriptors)
	if err != nil {
		t.Fatal(err)
	}
	next, err := unix.CreateEventfd() // the lowest that is free
	if err != nil {
		t.Fatal(err)
	}
	unix.CloseAll([]int{next})
	if err := unix.SetLimits(unix.LimitDescriptors, uint64(next), hard); err != nil {
		t.Fatal(err)
	}
	_, askErr := c.Ask(t.Context(), &broker.Connect{Volume: "data", Geometry: g}, segment.FD)
	if err := unix.SetLimits(unix.LimitDescriptors, soft, hard); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(askErr, errLimit) {
		t.Errorf("a session without room for it: %v", askErr)
	}
	if _, err := openSession(t, c); err != nil {
		t.Errorf("a session once there is room: %v", err)
	}
}

// TestPlaces: one user can take a quarter of the places, all ordinary users
// together leave some to root and to the supervisor's user.
func TestPlaces(t *testing.T) {
	const own, other = 5, 1000
	q := newQuota(1<<20, own)
	enter := func(uid uint32, n int) {
		t.Helper()
		for i := range n {
			if refusal := q.enter(uid); refusal != nil {
				t.Fatalf("uid %d, connection %d: %v", uid, i+1, refusal)
			}
		}
	}
	refused := func(uid uint32) {
		t.Helper()
		if refusal := q.enter(uid); !errors.Is(refusal, errLimit) {
			t.Errorf("uid %d has not been refused: %v", uid, refusal)
		}
	}
	enter(other, applicationsMax/4)
	refused(other)
	enter(other+1, applicationsMax/4)
	enter(other+2, applicationsMax/4)
	enter(other+3, applicationsMax/4-applicationsReserved)
	refused(other + 3)
	enter(own, applicationsReserved-1)
	enter(0, 1)
	refused(0)
	q.leave(other)
	refused(other)
	enter(own, 1)
	for uid, n := range map[uint32]int{
		0: 1, own: applicationsReserved, other: applicationsMax/4 - 1, other + 1: applicationsMax / 4,
		other + 2: applicationsMax / 4, other + 3: applicationsMax/4 - applicationsReserved,
	} {
		for range n {
			q.leave(uid)
		}
	}
	if q.total != 0 || q.applications != 0 || len(q.applicationsByUser) != 0 {
		t.Errorf("left: %d descriptors, %d connections of %d users", q.total, q.applications, len(q.applicationsByUser))
	}
}

// TestSilentConnection: who connects and does not greet is told so and loses its
// place; who has greeted may be silent for longer.
func TestSilentConnection(t *testing.T) {
	s := start(t)
	s.mu.Lock()
	s.helloMax = time.Second
	s.mu.Unlock()
	greeted := connect(t, s) // its deadline would come first
	conn, err := broker.Dial(broker.SocketPath(s.state.path))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	m, err := conn.Receive()
	if refused, is := m.Body.(*broker.Refused); err != nil || !is || refused.Code != broker.CodeMalformed {
		t.Fatalf("answered %+v, %v", m.Body, err)
	}
	if _, err := conn.Receive(); err == nil {
		t.Error("the connection is still open")
	}
	s.mu.Lock()
	for len(s.applications) > 1 {
		s.changed.Wait()
	}
	s.mu.Unlock()
	if _, err := openSession(t, greeted); err != nil {
		t.Errorf("the application that has greeted: %v", err)
	}
}
