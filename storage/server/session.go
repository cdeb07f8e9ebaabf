package server

import (
	"slices"
	"time"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/storage"
)

// Default limits.
const (
	LimitRequestsDefault = 256
	LimitBytesDefault    = 64 << 20
)

// Grant gives a session access to a volume. The client's handle of the volume is
// the grant's place among the session's.
type Grant struct {
	Volume   *Volume
	ReadOnly bool
}

// grant is a session's use of one volume. What waits for one volume does not
// hold up what the session asks of another.
type grant struct {
	session  *session
	volume   *Volume
	info     storage.Info
	queue    []*task // taken, checked, and not yet admitted; at most the session's slots
	waiting  bool    // among Volume.waiting
	crowded  bool    // among Volume.crowded
	left     turn    // of a turn that a full device has interrupted
	inflight int     // admitted tasks
	bytes    int64   // of admitted transfers
	// What the device has to do at a time, in bytes of admitted transfers and of the
	// ranges of other admitted requests.
	moving, clearing int64
	greedy           bool          // has asked for more than is modest
	greedyAt         time.Duration // when it did last
}

// load is where an admitted request of a kind counts.
func (g *grant) load(op storage.Op) *int64 {
	if op.Transfers() {
		return &g.moving
	}
	return &g.clearing
}

// enqueue lets a task wait for its grant. A session that waits for all of its
// volumes is held: what else it asks stays in shared memory, and keeps nobody awake.
func (c *Core) enqueue(g *grant, t *task) {
	if len(g.queue) == 0 {
		g.session.queued++
		if g.session.stuck() {
			c.sessions.Hold(g.session.ipc)
		}
	}
	g.queue = append(g.queue, t)
}

// unqueue removes the first of a grant's queue.
func (c *Core) unqueue(g *grant) {
	if g.queue = g.queue[1:]; len(g.queue) == 0 {
		g.queue = nil
		g.session.queued--
		c.sessions.Release(g.session.ipc)
	}
}

// full reports whether the session's limits make a request wait.
func (g *grant) full(r *storage.Request) bool {
	limits := &g.session.limits
	return g.inflight > 0 && (g.inflight >= limits.Requests || r.Op.Transfers() && g.bytes+r.Length > limits.Bytes)
}

// session is the core's side of one session.
type session struct {
	ipc      *ipc.Session
	grants   []grant
	limits   storage.Limits
	regions  map[int]*region
	queued   int    // grants with a queue
	told     bool   // its failure has been reported
	taken    int    // tasks
	pinned   int    // pieces of its regions
	removed  func() // called when nothing is in flight any more
	counters Counters
}

// stuck reports whether any request but a wrong one would have to wait.
func (s *session) stuck() bool { return len(s.grants) > 0 && s.queued == len(s.grants) }

// region is granted memory while it is used here.
type region struct {
	session  *session
	id       int
	mem      []byte
	writable bool
	users    int // admitted tasks
	uses     []use
	released func() // called when users has become 0; nil while the region is granted
}

// region returns a granted region, or nil.
func (s *session) region(id int) *region {
	if r := s.regions[id]; r != nil {
		return r
	}
	granted, ok := s.ipc.Region(id)
	if !ok {
		return nil
	}
	r := &region{session: s, id: id, mem: granted.Mem, writable: granted.Writable}
	s.regions[id] = r
	return r
}

// release ends the use of the region's memory.
func (r *region) release() {
	r.unpin()
	if r.released != nil {
		r.released()
	}
}

// AddSession serves an attached session from the next Step on. Sessions that a
// dead server left on a volume are all added before the first Step that serves
// any of them. A limit that is zero means the default.
func (c *Core) AddSession(s *ipc.Session, grants []Grant, limits storage.Limits) {
	if c.byIPC[s] == nil {
		c.PrepareSession(s, grants, limits)
	}
	c.recovering = append(c.recovering, c.byIPC[s])
}

// PrepareSession does what can be done of AddSession while another server still
// serves the session: nothing is read from it or written to it.
func (c *Core) PrepareSession(s *ipc.Session, grants []Grant, limits storage.Limits) {
	if limits.Requests <= 0 {
		limits.Requests = LimitRequestsDefault
	}
	if limits.Bytes <= 0 {
		limits.Bytes = LimitBytesDefault
	}
	added := &session{ipc: s, limits: limits, regions: make(map[int]*region)}
	for _, g := range grants {
		info := g.Volume.info
		info.Writable = info.Writable && !g.ReadOnly
		added.grants = append(added.grants, grant{session: added, volume: g.Volume, info: info})
	}
	c.byIPC[s] = added
}

// RemoveSession ends a session: nothing is taken from it and nothing answered
// any more. When its last operation has ended, released is called, from here or
// from Step; until then all its memory must stay mapped.
func (c *Core) RemoveSession(s *ipc.Session, released func()) {
	removed := c.byIPC[s]
	if removed == nil {
		released()
		return
	}
	delete(c.byIPC, s)
	removed.removed = released
	if removed.taken == 0 {
		c.forget(removed)
		return
	}
	for i := range removed.grants {
		queue := removed.grants[i].queue
		removed.grants[i].queue = nil
		for _, t := range queue {
			c.finish(t)
		}
	}
	c.aside = slices.DeleteFunc(c.aside, func(t *task) bool {
		if t.session != removed {
			return false
		}
		c.finish(t)
		return true
	})
}

// forget ends what is left of a removed session.
func (c *Core) forget(s *session) {
	for _, r := range s.regions {
		r.release()
	}
	s.regions = nil
	released := s.removed
	s.removed = func() {}
	released()
}

// RemoveRegion revokes a region. Requests that name it from now on are refused.
// When the last operation on it has ended, released is called, from here or from
// Step; until then it must stay mapped.
func (c *Core) RemoveRegion(s *ipc.Session, id int, released func()) {
	s.RemoveRegion(id)
	owner := c.byIPC[s]
	if owner == nil || owner.regions[id] == nil {
		released()
		return
	}
	r := owner.regions[id]
	delete(owner.regions, id)
	r.released = released
	if r.users == 0 {
		r.release()
	}
}
