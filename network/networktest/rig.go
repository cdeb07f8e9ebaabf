// Package networktest runs a network server and its clients in one process, and
// holds the conformance tests that any client of the contract can be put to.
//
// A Rig keeps what the supervisor would keep: the memory of the sessions and the
// doorbells. So its server can die and be succeeded while the clients go on. The
// memory is the heap's, where the race detector sees it.
package networktest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/server"
)

// Rig is a network server with its ports. It is either stepped by hand, with
// virtual time, or served by a loop between Serve and Kill.
type Rig struct {
	Core       *server.Core
	Now        time.Duration // of Step
	Generation uint64

	t       testing.TB
	kept    *server.Connections
	joined  int
	set     *ipc.Sessions
	members []*Member
	stop    func()
}

// Member is one port of a Rig.
type Member struct {
	ID      uint64
	Config  network.PortConfig
	Buffers int
	// Client is the client's side of the session, and Region its memory.
	Client *ipc.Client
	Region []byte
	// Session is the current server's side.
	Session *ipc.Session

	cmem, smem []byte
	doorbell   int
}

// New returns a rig without ports whose server is not running.
func New(t testing.TB) *Rig {
	r := &Rig{t: t, kept: server.NewConnections()}
	r.Succeed()
	t.Cleanup(func() {
		r.Kill()
		for _, m := range r.members {
			m.Client.Close()
			unix.Close(m.doorbell)
		}
	})
	return r
}

// Join adds a port. The server must not be running.
func (r *Rig) Join(cfg network.PortConfig, buffers int) *Member {
	r.t.Helper()
	if cfg.MTU == 0 {
		cfg.MTU = network.MTUDefault
	}
	g := network.Geometry(buffers)
	cfg.Row = r.joined % network.PortsMax
	r.joined++
	m := &Member{ID: uint64(r.joined), Config: cfg, Buffers: buffers,
		Region: make([]byte, network.RegionBytes(buffers)), cmem: make([]byte, g.ClientBytes()), smem: make([]byte, g.ServerBytes())}
	if err := errors.Join(ipc.FormatClient(m.cmem, g), ipc.FormatServer(m.smem, g)); err != nil {
		r.t.Fatal(err)
	}
	var err error
	if m.doorbell, err = unix.CreateEventfd(); err != nil {
		r.t.Fatal(err)
	}
	if m.Client, err = ipc.NewClient(ipc.ClientConfig{Geometry: g, Client: m.cmem, Server: m.smem, Doorbell: m.doorbell}); err != nil {
		r.t.Fatal(err)
	}
	r.members = append(r.members, m)
	r.attach(m)
	return m
}

func (r *Rig) attach(m *Member) {
	s, err := ipc.NewSession(ipc.SessionConfig{ID: m.ID, Geometry: network.Geometry(m.Buffers), Client: m.cmem, Server: m.smem, Doorbell: m.doorbell})
	if err != nil {
		r.t.Fatal(err)
	}
	s.AddRegion(&ipc.Region{ID: network.RegionID, Mem: m.Region, Writable: true})
	s.Attach(r.Generation)
	m.Session = s
	if err := r.Core.Add(s, m.Config); err != nil {
		r.t.Fatal(err)
	}
	r.set.Add(s)
}

// Leave takes a port away, as the supervisor does, and gives its memory to somebody
// else. The function returned tells whether it has been left alone since.
func (r *Rig) Leave(m *Member) (untouched func() bool) {
	r.set.Remove(m.Session)
	r.Core.Remove(m.Session)
	r.members = slices.DeleteFunc(r.members, func(o *Member) bool { return o == m })
	r.t.Cleanup(func() {
		m.Client.Close()
		unix.Close(m.doorbell)
	})
	for _, mem := range [][]byte{m.cmem, m.smem, m.Region} {
		mem[0] = 0xa5
		for n := 1; n < len(mem); n *= 2 {
			copy(mem[n:], mem[:n])
		}
	}
	return func() bool {
		for _, mem := range [][]byte{m.cmem, m.smem, m.Region} {
			if slices.ContainsFunc(mem, func(b byte) bool { return b != 0xa5 }) {
				return false
			}
		}
		return true
	}
}

// Succeed makes a new server take over all ports. The last one must have died.
func (r *Rig) Succeed() {
	r.Generation++
	r.set = ipc.NewSessions()
	r.Core = server.NewCore(r.set)
	r.Core.Keep(r.kept)
	for _, m := range r.members {
		r.attach(m)
	}
	r.Core.Inherit()
}

// Step lets the server take one step at time Now, and reports whether it found
// work.
func (r *Rig) Step() bool {
	worked := r.Core.Step(r.Now)
	r.set.WakeClients()
	return worked
}

// Settle steps until there is nothing to do without time passing.
func (r *Rig) Settle() {
	for range settleStepsMax {
		if !r.Step() {
			return
		}
	}
	r.t.Fatalf("the server still works after %d steps", settleStepsMax)
}

const settleStepsMax = 1 << 20

// Awake is the number of sessions that a loop would keep looking at now, instead
// of going to sleep.
func (r *Rig) Awake() (n int) {
	for tick := uint64(1); tick <= 3; tick++ { // notes activity, notes idleness, puts to sleep
		n = r.set.Cool(tick, 1)
	}
	r.set.All(r.set.Wake) // nobody here listens to doorbells
	return n
}

// Serve runs the server in a loop of its own until Kill.
func (r *Rig) Serve() {
	r.t.Helper()
	l, err := ipc.NewLoop(ipc.LoopConfig{Core: r.Core, Sessions: r.set})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, m := range r.members {
		if err := l.Add(m.Session); err != nil {
			r.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	r.stop = func() {
		cancel()
		if err := errors.Join(<-done, l.Close()); err != nil {
			r.t.Error(err)
		}
	}
}

// Replace kills the running server and lets a new one take over.
func (r *Rig) Replace() {
	r.Kill()
	r.Succeed()
	r.Serve()
}

// Kill ends the running server between two steps, without any farewell.
func (r *Rig) Kill() {
	if r.stop != nil {
		r.stop()
		r.stop = nil
	}
}
