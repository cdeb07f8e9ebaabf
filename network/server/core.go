package server

import (
	"fmt"
	"slices"
	"time"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/network"
)

// regionWaitMax is how long a port may be ahead of its region's grant.
const regionWaitMax = time.Second

// Core is the network server's step machine; it is an ipc.Core and ipc.Timed.
type Core struct {
	// Failed, if set, is called from Step once for each session that has ended
	// with an error. The session stays until it is removed.
	Failed func(*ipc.Session, error)

	sessions *ipc.Sessions
	byIPC    map[*ipc.Session]*port
	fabrics  map[int]*fabric
	held     []*port // not looked at until something happens; see hold.go
	dirty    []*port // have descriptors to publish
	turn     int
	draining bool
	now      time.Duration
	units    int // of work left in this step
	total    uint64
	frame    frame

	connections *Connections
	rows        [network.PortsMax]*port
	untold      []*departed // whose peers are to be told
	untolds     int         // connections of all of them
	tellAt      time.Duration
	own         frame // that the server itself makes
}

// NewCore returns a core that serves the given set, which is also the loop's.
func NewCore(sessions *ipc.Sessions) *Core {
	sessions.Limit(ipc.Takes{Rings: true})
	return &Core{sessions: sessions, byIPC: make(map[*ipc.Session]*port), fabrics: make(map[int]*fabric), connections: NewConnections()}
}

// Keep makes the core go on with a table that outlives it. It is called before Add.
func (c *Core) Keep(t *Connections) { c.connections = t }

// Add makes an attached session a port. Errors are KindConfig, KindConflict,
// KindLimit and KindGeometry; the port then does not exist.
func (c *Core) Add(s *ipc.Session, cfg network.PortConfig) error {
	if err := cfg.Check(); err != nil {
		return fmt.Errorf("add port %d: %w", s.ID, err)
	}
	if err := network.CheckGeometry(s.Geometry()); err != nil {
		return fmt.Errorf("add port %d: %w", s.ID, err)
	}
	if len(c.byIPC) >= network.PortsMax {
		return fmt.Errorf("add port %d: %w", s.ID,
			&network.Error{Kind: network.KindLimit, Detail: fmt.Sprintf("the server has %d ports", network.PortsMax)})
	}
	if q := c.rows[cfg.Row]; q != nil {
		return fmt.Errorf("add port %d: %w", s.ID,
			&network.Error{Kind: network.KindConflict, Detail: fmt.Sprintf("row %d is that of port %d", cfg.Row, q.session.ID)})
	}
	f := c.fabrics[cfg.Network]
	if f == nil {
		f = newFabric()
	}
	p := newPort(s, cfg, f)
	if err := f.add(p); err != nil {
		return fmt.Errorf("add port %d: %w", s.ID, err)
	}
	c.fabrics[cfg.Network] = f
	c.byIPC[s] = p
	c.enroll(p)
	p.recover()
	return nil
}

// Remove forgets a port. The server does not touch its memory afterwards.
func (c *Core) Remove(s *ipc.Session) {
	p := c.byIPC[s]
	if p == nil {
		return
	}
	delete(c.byIPC, s)
	c.rows[p.cfg.Row] = nil
	p.gone, p.mem, p.tap = true, nil, nil
	p.fabric.remove(p)
	c.depart(p)
	if len(p.fabric.ports) == 0 {
		for _, d := range p.fabric.departed {
			c.forget(d)
		}
		delete(c.fabrics, p.cfg.Network)
	}
	c.unhold(p)
}

// Drain stops taking frames; they wait in shared memory for a successor. Nothing
// taken is ever left between two steps, so the server may end at once.
func (c *Core) Drain() {
	c.draining = true
	c.sessions.Stop()
}

// Step gives each port with frames to send one turn, beginning where the last step
// had to end, or from a port that rotates.
func (c *Core) Step(now time.Duration) (worked bool) {
	c.now = now
	c.units = stepUnits
	if c.draining {
		return false
	}
	worked = c.releaseHeld()
	if c.tell() {
		worked = true
	}
	active := c.sessions.Active()
	turns := 0
	for ; turns < len(active) && c.units > 0; turns++ {
		s := active[(c.turn+turns)%len(active)]
		if p := c.byIPC[s]; p != nil && !p.failed && !s.Held() && c.serve(p) {
			worked = true
		}
	}
	if turns == len(active) {
		turns = 1
	}
	c.turn += turns
	return worked
}

// serve forwards what p has sent.
func (c *Core) serve(p *port) (worked bool) {
	if !p.mapped() {
		return c.awaitRegion(p)
	}
	// Posted buffers are taken whether or not they are needed: what lies in a ring
	// keeps the session from sleeping.
	p.collect()
	p.begin()
	done, indebted := 0, p.credit <= 0
	for ; p.credit > 0 && !p.offences.tooMany(c.now) && p.take(); done++ {
		if !c.forward(p) {
			break // held, with the frame
		}
		p.taken = false
	}
	c.publish()
	p.send.Release(done)
	c.total += uint64(done)
	if err := p.error(); err != nil {
		c.fail(p, err)
	}
	c.punish(p)
	return done > 0 || indebted && p.send.Available() > 0
}

// awaitRegion holds a port that uses its rings before its region is there.
func (c *Core) awaitRegion(p *port) (worked bool) {
	if p.send.Available() == 0 && p.post.Available() == 0 {
		return false
	}
	switch {
	case p.due == 0:
		p.due = c.now + regionWaitMax
	case c.now >= p.due:
		c.fail(p, errRegion)
		return true
	}
	c.hold(p, hold{until: p.due})
	return true
}

// publish shows what has been delivered to its receivers.
func (c *Core) publish() {
	for i, p := range c.dirty {
		p.publish()
		c.dirty[i] = nil
	}
	c.dirty = c.dirty[:0]
}

// fail ends a session whose client broke the protocol.
func (c *Core) fail(p *port, err error) {
	if p.failed {
		return
	}
	p.failed = true
	p.session.Fail(ipc.ReasonRing, err.Error())
	c.unhold(p)
	if c.Failed != nil {
		c.Failed(p.session, p.session.Err())
	}
}

// Total is the number of frames taken from all ports.
func (c *Core) Total() uint64 { return c.total }

// Counters returns those of a port.
func (c *Core) Counters(s *ipc.Session) (network.Counters, bool) {
	p := c.byIPC[s]
	if p == nil {
		return network.Counters{}, false
	}
	return p.counters, true
}

// Capture copies all frames that pass the port from now on to tap; nil ends it.
// The port must exist.
func (c *Core) Capture(s *ipc.Session, tap *Capture) {
	if p := c.byIPC[s]; p != nil {
		p.tap = tap
	}
}

func (c *Core) unhold(p *port) {
	if i := slices.Index(c.held, p); i >= 0 {
		c.release(i)
	}
}
