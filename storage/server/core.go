package server

import (
	"slices"
	"time"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/storage"
)

const (
	// turnRequests and turnBytes bound what one session is served at a time.
	turnRequests = 8
	turnBytes    = 1 << 20
	// stepTurns bounds the turns given in one step to active sessions, and to
	// those that wait for one volume.
	stepTurns = 64
	// busyMax bounds the devices that do work of their own in one step.
	busyMax = 2
	// reapMax bounds the completions of one volume in one step.
	reapMax = 256
	// regionWaitMax is how long a request may be ahead of its region's grant.
	regionWaitMax = time.Second
)

// Volume is one device that the server serves.
type Volume struct {
	Name     string
	device   storage.Device
	info     storage.Info
	guard    guard
	ready    []*task  // admitted, and put off by a full device
	spare    []*task  // ready's other array
	waiting  []*grant // have a queue and are within their limits, longest first
	crowded  []*grant // have been kept out for the sake of others
	look     int      // at which of crowded
	inflight int      // admitted tasks
	users    users    // of ranges
	modest   users    // that are
	counters Counters
}

// Info describes the volume.
func (v *Volume) Info() storage.Info { return v.info }

// Counters returns the volume's.
func (v *Volume) Counters() Counters { return v.counters }

// InFlight is the number of requests admitted and not answered.
func (v *Volume) InFlight() int { return v.inflight }

// Core is the storage server's step machine; it is an ipc.Core.
type Core struct {
	// Failed, if set, is called from Step once for each session that has ended
	// with an error. The session stays until it is removed.
	Failed func(*ipc.Session, error)
	// Pinned, if set, is called from Step when a device has pinned a piece of a region:
	// it is used so much that a successor should have it pinned.
	Pinned func(s *ipc.Session, region, piece int)

	sessions   *ipc.Sessions
	byIPC      map[*ipc.Session]*session
	recovering []*session // added, and not yet asked for what had been started
	turn       int
	volumes    []*Volume
	first      int     // of volumes, to be reaped first
	tasks      []*task // by number; at most one for each slot of each session
	free       []*task
	aside      []*task // wait for their regions
	draining   bool
	now        time.Duration
	total      Counters // of all sessions, ended ones included
	completed  [reapMax]storage.Completion
}

// NewCore returns a core that serves the given set, which is also the loop's.
func NewCore(sessions *ipc.Sessions) *Core {
	sessions.Limit(ipc.Takes{Requests: true})
	return &Core{sessions: sessions, byIPC: make(map[*ipc.Session]*session)}
}

// AddVolume serves a device, which stays the caller's to close after the core's
// end.
func (c *Core) AddVolume(name string, device storage.Device) *Volume {
	v := &Volume{Name: name, device: device, info: device.Info()}
	c.volumes = append(c.volumes, v)
	return v
}

// Drain stops taking requests; they wait in shared memory for a successor.
func (c *Core) Drain() {
	c.draining = true
	c.sessions.Stop()
}

// Drained reports that nothing taken is left unanswered.
func (c *Core) Drained() bool { return len(c.free) == len(c.tasks) }

// Step collects completions, then serves sessions: those that have been waiting,
// then the active ones, each for one turn.
func (c *Core) Step(now time.Duration) (worked bool) {
	c.now = now
	if c.reapAll() {
		worked = true
	}
	if c.recover() {
		worked = true
	}
	if c.serveAside() {
		worked = true
	}
	for _, v := range c.volumes {
		if c.serveWaiting(v) {
			worked = true
		}
	}
	if !c.draining && c.serveActive() {
		worked = true
	}
	return worked
}

// reapAll reaps all devices but for those that have work of their own, of which it reaps
// busyMax in rotation: whoever has many such volumes gets no more of a step for it.
func (c *Core) reapAll() (worked bool) {
	busy, first := 0, c.first
	for i := range c.volumes {
		at := (first + i) % len(c.volumes)
		v := c.volumes[at]
		if v.device.Busy() {
			if busy++; busy > busyMax {
				if busy == busyMax+1 {
					c.first = at
				}
				worked = true
				continue
			}
		}
		if c.reap(v) {
			worked = true
		}
	}
	return worked
}

// reap collects what a device has completed, and gives it what it had no room
// for. Work that a device does in Reap is the server's.
func (c *Core) reap(v *Volume) (worked bool) {
	n := v.device.Reap(c.completed[:])
	for i := range n {
		c.complete(c.tasks[c.completed[i].Tag], &c.completed[i])
	}
	if n > 0 && len(v.ready) > 0 {
		ready := v.ready
		v.ready = v.spare[:0]
		for _, t := range ready {
			c.start(t) // queues again, in order, what still finds no room
		}
		clear(ready)
		v.spare = ready
	}
	return n > 0 || v.device.Busy()
}

// recover takes all requests that a predecessor had started.
func (c *Core) recover() (worked bool) {
	for _, s := range c.recovering {
		for s.removed == nil {
			r, ok := s.ipc.NextStarted()
			if !ok {
				break
			}
			worked = true
			if t := c.take(s, &r); t != nil {
				c.readmit(t)
			}
		}
		c.report(s)
	}
	c.recovering = nil
	return worked
}

// serveWaiting gives a turn to each session that waits for the volume, until its
// device is full.
func (c *Core) serveWaiting(v *Volume) (worked bool) {
	c.lookAtCrowded(v)
	for n := min(len(v.waiting), stepTurns); n > 0 && len(v.ready) == 0; n-- {
		g := v.waiting[0]
		v.waiting = v.waiting[1:]
		g.waiting = false
		if g.session.removed == nil && c.serveQueue(g) {
			worked = true
		}
	}
	return worked
}

// lookAtCrowded looks whether time has made room for one of those that are kept out for
// the sake of others: these may have gone. Otherwise the end of a task of its own does.
func (c *Core) lookAtCrowded(v *Volume) {
	n := len(v.crowded)
	if n == 0 {
		return
	}
	v.look = (v.look + 1) % n
	g := v.crowded[v.look]
	waits := g.session.removed == nil && len(g.queue) > 0
	if waits && !g.waiting && v.crowds(g.queue[0], c.now) {
		return
	}
	v.crowded[v.look], v.crowded[n-1] = v.crowded[n-1], nil
	v.crowded = v.crowded[:n-1]
	g.crowded = false
	if waits {
		c.putOff(g, turn{})
	}
}

// serveQueue gives one turn, or the rest of one, to a session that waits for a
// volume.
func (c *Core) serveQueue(g *grant) (worked bool) {
	left := g.left
	if !left.remains() {
		left = turn{turnRequests, turnBytes}
	}
	for len(g.queue) > 0 && left.remains() {
		t := g.queue[0]
		length := t.request.Length
		if !c.admit(t) {
			c.putOff(g, left)
			return worked
		}
		worked = true
		left.take(length)
		c.unqueue(g)
	}
	if len(g.queue) > 0 {
		c.putOff(g, turn{})
		return worked
	}
	return c.serve(g.session, left, g) || worked
}

// serveActive gives a turn to active sessions, in rotation.
func (c *Core) serveActive() (worked bool) {
	active := c.sessions.Active()
	turns := min(len(active), stepTurns)
	for range turns {
		if c.turn++; c.turn >= len(active) {
			c.turn = 0
		}
		s := c.byIPC[active[c.turn]]
		if s != nil && c.serve(s, turn{turnRequests, turnBytes}, nil) {
			worked = true
		}
	}
	return worked
}

// serve takes new requests of a session, for what is left of its turn and while
// it has a volume it does not wait for: one that would only join a queue stays
// in shared memory. The turn is that of the grant of, if any.
func (c *Core) serve(s *session, left turn, of *grant) (worked bool) {
	for left.remains() && !c.draining && !s.stuck() {
		r, ok := s.ipc.Next()
		if !ok {
			c.report(s)
			break
		}
		worked = true
		t := c.take(s, &r)
		if t == nil {
			left.take(0)
			continue
		}
		g, length := t.grant, t.request.Length
		if len(g.queue) == 0 && c.admit(t) {
			left.take(length)
			continue
		}
		c.park(t)
		c.enqueue(g, t)
		rest := turn{}
		if g == of {
			rest = left
		}
		c.putOff(g, rest)
		left.take(0)
	}
	return worked
}

// putOff has a grant with a queue try again at its volume's next turn or, while its
// limits are exhausted or it crowds others, when one of its tasks ends: those that cannot
// be served cost nothing, however many there are. If the device has become
// full, a turn goes on when it has room: otherwise all would be served request by
// request, however large.
func (c *Core) putOff(g *grant, left turn) {
	v := g.volume
	switch {
	case g.waiting || g.full(&g.queue[0].request):
	case v.crowds(g.queue[0], c.now):
		if !g.crowded {
			g.crowded = true
			v.crowded = append(v.crowded, g)
		}
	case len(v.ready) > 0 && left.remains():
		g.waiting, g.left = true, left
		v.waiting = slices.Insert(v.waiting, 0, g)
	default:
		g.waiting, g.left = true, turn{}
		v.waiting = append(v.waiting, g)
	}
}

// turn is what a session may still do before it is another's turn.
type turn struct {
	requests int
	bytes    int64
}

func (t *turn) remains() bool { return t.requests > 0 && t.bytes > 0 }

func (t *turn) take(length int64) {
	t.requests--
	t.bytes -= length
}

// report tells once of a session that has failed.
func (c *Core) report(s *session) {
	if err := s.ipc.Err(); err != nil && !s.told && s.removed == nil {
		s.told = true
		if c.Failed != nil {
			c.Failed(s.ipc, err)
		}
	}
}

var (
	_ ipc.Core  = (*Core)(nil)
	_ ipc.Timed = (*Core)(nil)
)
