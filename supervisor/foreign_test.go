package supervisor

import (
	"context"
	"errors"
	"net/netip"
	"syscall"
	"testing"

	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/internal/unix/unixtest"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/network"
)

var errMemory = &broker.Refused{Code: broker.CodeMemory}

// TestStrangeDescriptors: whatever an application passes as its segment or as a
// region, it is told that this is no memory, and can go on.
func TestStrangeDescriptors(t *testing.T) {
	s := start(t)
	c := connect(t, s)
	id, err := openSession(t, c)
	if err != nil {
		t.Fatal(err)
	}
	g := ipc.Geometry{Slots: 1}
	for _, d := range unixtest.Strange(t, int64(g.ClientBytes())) {
		_, err := c.Ask(t.Context(), &broker.Connect{Volume: "data", Geometry: g}, d.FD)
		if errors.Is(err, syscall.EINVAL) && d.Kind == unixtest.Ring {
			continue // the kernel does not pass it
		}
		if !errors.Is(err, errMemory) {
			t.Errorf("%s as a segment: %v", d.Kind, err)
		}
		for _, writable := range []bool{false, true} {
			grant := &broker.Grant{Session: id, Bytes: int64(g.ClientBytes()), Writable: writable}
			if _, err := c.Ask(t.Context(), grant, d.FD); !errors.Is(err, errMemory) {
				t.Errorf("%s as a region, writable %v: %v", d.Kind, writable, err)
			}
		}
	}
	if err := grant(t, c, id, 0); err != nil {
		t.Errorf("memory after all that: %v", err)
	}
}

// TestClosingHoldsUpNobody: files that cannot be closed in time, a socket that lingers
// for ever and a file of a file system that answers nothing any more, are passed in
// every place where a descriptor can be, and are open while processes are started.
// Others are served, servers are replaced, and the system can be ended, all before one
// of them is closed.
func TestClosingHoldsUpNobody(t *testing.T) {
	for name, make := range map[string]func(testing.TB) (int, func()){
		"a socket that lingers": unixtest.Lingering, "a file that nobody answers for": unixtest.Unanswered,
	} {
		t.Run(name, func(t *testing.T) {
			t.Run("system", func(in *testing.T) {
				// What is made is released after the end of the system.
				closingHoldsUpNobody(in, func() int { fd, _ := make(t); return fd })
			})
		})
	}
}

func closingHoldsUpNobody(t *testing.T, make func() int) {
	s := start(t)
	files := []int{make(), make(), make(), make()}
	killActive(t, s)
	good := connect(t, s)
	id, err := openSession(t, good)
	if err != nil {
		t.Fatal(err)
	}
	for i, body := range []broker.Body{
		&broker.Connect{Volume: "data", Geometry: ipc.Geometry{Slots: 1}},
		&broker.Grant{Session: 1, Bytes: 4096},
		&broker.Capturing{Network: "none"},
	} {
		bad, err := broker.Dial(broker.SocketPath(s.state.path))
		if err != nil {
			t.Fatal(err)
		}
		defer bad.Close()
		if err := bad.Send(1, &broker.Hello{Name: "test"}); err != nil {
			t.Fatal(err)
		}
		if _, err := bad.Receive(); err != nil {
			t.Fatal(err)
		}
		if err := bad.Send(2, body, files[i]); err != nil {
			t.Fatal(err)
		}
		if i == 0 { // and one that stays in the connection, unread
			if err := bad.Send(3, body, files[3]); err != nil {
				t.Fatal(err)
			}
			giveAway(files[3])
		}
		giveAway(files[i])
		bad.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range 3 {
		killActive(t, s)
	}
	if m, err := good.Ask(ctx, &broker.Close{Session: id}); err != nil {
		t.Error(err)
	} else {
		m.CloseFDs()
	}
	if _, err := openSession(t, good); err != nil {
		t.Error(err)
	}
}

// giveAway closes the test's copy of a file that has been sent.
func giveAway(fd int) { go unix.CloseAll([]int{fd}) }

// TestDescriptorsBeforeTheGreeting cannot be sent, so that a connection that is not
// admitted is closed at once.
func TestDescriptorsBeforeTheGreeting(t *testing.T) {
	s := start(t)
	conn, err := broker.Dial(broker.SocketPath(s.state.path))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if !unixtest.RefusesDescriptors(s.listener) {
		testenv.Skip(t, "the kernel keeps no descriptors out of connections (before Linux 6.16)")
	}
	fd, err := unix.CreateEventfd()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := conn.Send(1, &broker.Grant{}, fd); !errors.Is(err, syscall.EPERM) {
		t.Errorf("a descriptor before the greeting: %v", err)
	}
	if err := conn.Send(1, &broker.Hello{Name: "test"}); err != nil {
		t.Fatal(err)
	}
	if m, err := conn.Receive(); err != nil {
		t.Errorf("the greeting was answered by %v, %v", m, err)
	}
	if err := conn.Send(2, &broker.Grant{Session: 1, Bytes: 1}, fd); err != nil {
		t.Errorf("a descriptor after it: %v", err)
	}
}

// TestAnAnswerThatIsTooLong: the question is answered all the same.
func TestAnAnswerThatIsTooLong(t *testing.T) {
	s := start(t)
	conn, err := broker.Dial(broker.SocketPath(s.state.path))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Send(1, &broker.Hello{Name: "test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Receive(); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	for a := range s.applications {
		a.reply(7, &broker.Resolved{Addresses: make([]netip.Addr, broker.MessageMax)})
	}
	s.mu.Unlock()
	m, err := conn.Receive()
	if refused, is := m.Body.(*broker.Refused); err != nil || !is || m.Ref != 7 || refused.Code != broker.CodeInternal {
		t.Errorf("answered %+v, %v", m, err)
	}
}

// TestAPortOfAllVLANs: what is said of it fits into a message, to its server and to
// the next.
func TestAPortOfAllVLANs(t *testing.T) {
	s := startWith(t, walkTopology)
	s.mu.Lock()
	for i := range s.config.Topology.Ports {
		for vlan := range uint16(network.VLANMax) {
			s.config.Topology.Ports[i].Trunk = append(s.config.Topology.Ports[i].Trunk, vlan+1)
		}
	}
	s.mu.Unlock()
	c := connect(t, s)
	id, _, err := openPort(t, c, "lan")
	if err != nil {
		t.Fatal(err)
	}
	if err := grant(t, c, id, 0); err != nil { // its server has answered
		t.Error(err)
	}
}
