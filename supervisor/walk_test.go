package supervisor

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/internal/unix/unixtest"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/ipc/shm"
	"github.com/quintet-os/quintet/network"
)

const walkTopology = `version: 1
servers: {store: {kind: storage}, net: {kind: network}}
volumes: {data: {server: store, memory: 1MiB}, other: {server: store, memory: 1MiB}}
networks: {lan: {server: net, subnets: [10.9.0.0/24]}}
applications:
  test: {volumes: {data: rw, other: ro}, networks: {lan: {mac: "02:00:00:00:00:07"}}}
`

// walk is a system and what its strangers have in their hands.
type walk struct {
	t         testing.TB
	s         *Supervisor
	files     []int // of every kind
	strangers [3]*stranger
	geometry  [3]ipc.Geometry // of a volume, of a network, of neither
	input     []byte
}

// stranger is an application that says what it likes.
type stranger struct {
	conn     *broker.Conn
	last     uint64              // question
	open     map[uint64]bool     // questions without an answer
	answered chan broker.Message // closed when it is told nothing more
	sessions []uint64
}

// next takes one number below n out of the input.
func (w *walk) next(n int) int {
	if len(w.input) == 0 {
		return 0
	}
	b := w.input[0]
	w.input = w.input[1:]
	return int(b) % n
}

func (w *walk) leave(i int) {
	if st := w.strangers[i]; st != nil {
		_ = st.conn.Close()
		for range st.answered {
		}
		w.strangers[i] = nil
	}
}

func (w *walk) stranger(i int) *stranger {
	if w.strangers[i] != nil {
		return w.strangers[i]
	}
	conn, err := broker.Dial(broker.SocketPath(w.s.state.path))
	if err != nil {
		w.t.Fatal(err)
	}
	st := &stranger{conn: conn, open: make(map[uint64]bool), answered: make(chan broker.Message, 4096)} // more than are asked
	go func() {
		defer close(st.answered)
		for {
			m, err := conn.Receive()
			if err != nil {
				return
			}
			m.CloseFDs()
			if m.Ref > 0 {
				st.answered <- m
			}
		}
	}()
	w.strangers[i] = st
	if w.next(32) != 0 {
		w.say(st, &broker.Hello{Name: "test"})
	}
	return st
}

// say sends what may be refused by the kernel, or come too late.
func (w *walk) say(st *stranger, body broker.Body, fds ...int) {
	st.last++
	if st.conn.Send(st.last, body, fds...) == nil {
		st.open[st.last] = true
	}
}

// await waits until everything that was asked is answered, or the connection is over.
func (w *walk) await(i int) {
	st := w.strangers[i]
	if st == nil {
		return
	}
	late := time.After(patience)
	for len(st.open) > 0 {
		select {
		case m, more := <-st.answered:
			if !more {
				return
			}
			delete(st.open, m.Ref)
			if connected, is := m.Body.(*broker.Connected); is {
				st.sessions = append(st.sessions, connected.Session)
			}
		case <-late:
			w.t.Fatalf("%d questions have no answer", len(st.open))
		}
	}
}

// session is one of a stranger's, or a number that may be another's.
func (w *walk) session(i int) uint64 {
	if w.next(4) > 0 {
		w.await(i)
		if st := w.strangers[i]; st != nil && len(st.sessions) > 0 {
			return st.sessions[w.next(len(st.sessions))]
		}
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	return w.s.lastSession - uint64(w.next(6))
}

func (w *walk) step() {
	i := w.next(len(w.strangers))
	switch action := w.next(64); {
	case action == 0:
		w.leave(i)
	case action == 1:
		w.kill(w.next(2))
	case action < 6:
		w.await(i)
	case action < 24:
		c := &broker.Connect{Geometry: w.geometry[0], ReadOnly: w.next(2) == 0}
		switch w.next(8) {
		case 0, 1, 2:
			c.Volume = "data"
		case 3:
			c.Volume = "other"
		case 4, 5, 6:
			c.Network, c.Geometry = "lan", w.geometry[1]
		case 7:
			c.Volume, c.Network = "none", []string{"", "none"}[w.next(8)/7]
		}
		if w.next(8) == 0 {
			c.Geometry = w.geometry[w.next(3)]
		}
		w.pass(i, max(c.Geometry.ClientBytes(), 4096), shm.OneWriter, c.Geometry, func(fd int) { w.say(w.stranger(i), c, fd) })
	case action < 44:
		g := &broker.Grant{Session: w.session(i), Region: w.next(5), Bytes: []int64{4096, 1 << 20}[w.next(2)], Writable: w.next(2) == 0}
		bytes, kind := int(g.Bytes), shm.OneWriter
		if g.Writable {
			kind = shm.Shared
		}
		if w.next(8) == 0 {
			g.Region, g.Bytes = w.next(256)-128, g.Bytes+int64(w.next(2))
		}
		w.pass(i, bytes, kind, ipc.Geometry{}, func(fd int) { w.say(w.stranger(i), g, fd) })
	case action < 52:
		w.say(w.stranger(i), &broker.Close{Session: w.session(i)})
	case action < 54:
		verb := []string{VerbState, VerbDomain, VerbKill}[w.next(3)]
		w.say(w.stranger(i), &broker.Control{Verb: verb, Target: []string{"store", "net", "test", ""}[w.next(4)]})
	case action < 56:
		fd := w.files[w.next(len(w.files))]
		w.say(w.stranger(i), &broker.Capturing{Network: "lan", Port: "test"}, fd)
	case action < 60:
		w.say(w.stranger(i), &broker.Resolve{Network: []string{"lan", "none"}[w.next(2)], Name: "test"})
	case action == 60: // what is not an application's to say
		w.say(w.stranger(i), []broker.Body{&broker.Leased{MAC: "x"}, &broker.Ready{}, &broker.Active{}, &broker.Drop{}, &broker.Hello{}, &broker.Welcome{}}[w.next(6)])
	case action == 61:
		length, fds := w.next(64), w.files[:w.next(3)]
		_ = unix.SendPacket(w.stranger(i).conn.Socket(), w.input[:min(len(w.input), length)], fds...)
	}
}

// pass has memory sent that is as it should be, or sometimes anything else.
func (w *walk) pass(i, bytes int, kind shm.Kind, g ipc.Geometry, send func(fd int)) {
	w.stranger(i)
	switch w.next(16) {
	case 0:
		send(w.files[w.next(len(w.files))])
		return
	case 1:
		kind = shm.OneWriter + shm.Shared - kind
	}
	segment, err := shm.Create("walk", bytes, kind)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.next(4) > 0 && g.Check() == nil && bytes >= g.ClientBytes() {
		if err := ipc.FormatClient(segment.Mem, g); err != nil {
			w.t.Fatal(err)
		}
	}
	send(segment.FD)
	segment.Close()
}

// kill ends the active process of a server, as from outside.
func (w *walk) kill(server int) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if p := w.s.servers[server].active; p != nil {
		p.asked = true // that it has done nothing yet is no failure
		p.kill()
	}
}

// ended tells what is left of strangers that have gone, or "". Supervisor.mu is held.
func (w *walk) ended() string {
	s := w.s
	f := s.fabrics["lan"]
	switch {
	case len(s.applications) > 0:
		return "applications"
	case s.granted != 0:
		return "granted bytes"
	case s.kept.total != 0 || len(s.kept.byUser) != 0 || s.kept.applications != 0:
		return "descriptors or places that are counted"
	case len(f.ports)+len(f.macs)+len(f.taken)+len(f.leases) > 0:
		return "ports, addresses or leases"
	case len(s.tokens) > 0:
		return "domains"
	}
	for _, each := range s.servers {
		if len(each.sessions) > 0 || each.room.descriptors.total != 0 || each.room.mappings.total != 0 {
			return "sessions of " + each.config.Name
		}
	}
	for _, used := range f.of.rows {
		if used {
			return "rows of counters"
		}
	}
	return ""
}

// settle waits until nothing is left of the strangers, and looks whether the system is
// as good as before.
func (w *walk) settle() {
	w.t.Helper()
	for i := range w.strangers {
		w.leave(i)
	}
	s := w.s
	late := time.AfterFunc(patience, func() { // a failure, which has to be told
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changed.Broadcast()
	})
	defer late.Stop()
	began := time.Now()
	s.mu.Lock()
	for w.ended() != "" && time.Since(began) < patience {
		s.changed.Wait()
	}
	left := w.ended()
	for _, each := range s.servers {
		if each.lastDeath != "" && !strings.Contains(each.lastDeath, "killed") || each.kills > 0 {
			w.t.Errorf("server %s died: %s; %d hangs", each.config.Name, each.lastDeath, each.kills)
		}
	}
	s.mu.Unlock()
	if left != "" {
		w.t.Fatalf("when all applications have gone, there are %s left", left)
	}
}

// FuzzApplications lets applications say anything, in any order and in every state of
// their sessions, pass descriptors of every kind, and go, while servers are killed.
// Nothing is left of them afterwards, and no server has died of it.
func FuzzApplications(f *testing.F) {
	w := &walk{s: startWith(f, walkTopology), geometry: [3]ipc.Geometry{{Slots: 1}, network.Geometry(network.BuffersMin), {Slots: -1}}}
	for _, d := range unixtest.Strange(f, 4096) {
		if d.Kind != unixtest.Ring {
			w.files = append(w.files, d.FD)
		}
	}
	for seed := range uint64(24) {
		random, input := rand.New(rand.NewPCG(seed, 1)), make([]byte, 600)
		for i := range input {
			input[i] = byte(random.Uint32())
		}
		f.Add(input)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		w.t, w.input = t, input[:min(len(input), 2000)]
		for len(w.input) > 0 {
			w.step()
		}
		w.settle()
		wait(t, w.s)
		c := connect(t, w.s)
		if _, err := openSession(t, c); err != nil {
			t.Errorf("an application that behaves, afterwards: %v", err)
		}
		c.Close()
		w.settle()
	})
}
