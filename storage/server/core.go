package server

import (
	"time"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/storage"
)

const (
	// tasksMax bounds the requests the server has taken and not answered.
	tasksMax = 4096
	// turnRequests and turnBytes bound what one session is served at a time.
	turnRequests = 8
	turnBytes    = 1 << 20
	// stepTurns bounds the sessions served in one step.
	stepTurns = 64
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
	ready    []*task // admitted, and put off by a full device
	inflight int     // admitted tasks
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

	sessions   *ipc.Sessions
	byIPC      map[*ipc.Session]*session
	recovering []*session // added, and not yet asked for what had been started
	waiting    []*session // have a head, the one that waits longest first
	turn       int
	volumes    []*Volume
	tasks      []task
	free       []*task
	draining   bool
	now        time.Duration
	total      Counters // of all sessions, ended ones included
	completed  [reapMax]storage.Completion
}

// NewCore returns a core that serves the given set, which is also the loop's.
func NewCore(sessions *ipc.Sessions) *Core {
	c := &Core{sessions: sessions, byIPC: make(map[*ipc.Session]*session), tasks: make([]task, tasksMax)}
	for i := range c.tasks {
		c.tasks[i].number = uint32(i)
		c.free = append(c.free, &c.tasks[i])
	}
	return c
}

// AddVolume serves a device, which stays the caller's to close after the core's
// end.
func (c *Core) AddVolume(name string, device storage.Device) *Volume {
	v := &Volume{Name: name, device: device, info: device.Info()}
	c.volumes = append(c.volumes, v)
	return v
}

// Drain stops taking requests; they wait in shared memory for a successor.
func (c *Core) Drain() { c.draining = true }

// Drained reports that nothing taken is left unanswered.
func (c *Core) Drained() bool { return len(c.free) == len(c.tasks) }

// Step collects completions, then serves sessions: those that have been waiting,
// then the active ones, each for one turn.
func (c *Core) Step(now time.Duration) (worked bool) {
	c.now = now
	for _, v := range c.volumes {
		if c.reap(v) {
			worked = true
		}
	}
	if len(c.recovering) > 0 && !c.recover() {
		return worked
	}
	if c.serveWaiting() {
		worked = true
	}
	if !c.draining && c.serveActive() {
		worked = true
	}
	return worked
}

// reap collects what a device has completed, and gives it what it had no room
// for.
func (c *Core) reap(v *Volume) (worked bool) {
	n := v.device.Reap(c.completed[:])
	for i := range n {
		c.complete(&c.tasks[c.completed[i].Tag], &c.completed[i])
	}
	if n > 0 && len(v.ready) > 0 {
		ready := v.ready
		v.ready = nil
		for _, t := range ready {
			c.start(t) // queues again, in order, what still finds no room
		}
	}
	return n > 0
}

// recover takes all requests that a predecessor had started. False while some
// of them could not be taken yet.
func (c *Core) recover() bool {
	for len(c.recovering) > 0 {
		s := c.recovering[0]
		for s.removed == nil {
			if s.head == nil {
				if len(c.free) == 0 {
					return false
				}
				r, ok := s.ipc.NextStarted()
				if !ok {
					break
				}
				c.take(s, &r)
			}
			if s.head != nil && !c.admit(s.head, true) {
				c.park(s.head)
				return false
			}
		}
		c.report(s)
		c.recovering = c.recovering[1:]
	}
	c.recovering = nil
	return true
}

// serveWaiting gives a turn to each session with a head.
func (c *Core) serveWaiting() (worked bool) {
	for range min(len(c.waiting), stepTurns) {
		s := c.waiting[0]
		c.waiting = c.waiting[1:]
		s.waiting = false
		if s.removed == nil && c.serve(s) {
			worked = true
		}
	}
	return worked
}

// serveActive gives a turn to active sessions without a head, in rotation.
func (c *Core) serveActive() (worked bool) {
	active := c.sessions.Active()
	turns := min(len(active), stepTurns)
	for range turns {
		if c.turn++; c.turn >= len(active) {
			c.turn = 0
		}
		s := c.byIPC[active[c.turn]]
		if s != nil && !s.waiting && c.serve(s) {
			worked = true
		}
	}
	return worked
}

// serve gives one session one turn.
func (c *Core) serve(s *session) (worked bool) {
	bytes := int64(turnBytes)
	for n := 0; n < turnRequests && bytes > 0; n++ {
		if s.head == nil {
			if c.draining || len(c.free) == 0 {
				break
			}
			r, ok := s.ipc.Next()
			if !ok {
				c.report(s)
				break
			}
			worked = true
			c.take(s, &r)
			if s.head == nil {
				continue
			}
		}
		t := s.head
		length := t.request.Length
		if !c.admit(t, false) {
			c.park(t)
			s.waiting = true
			c.waiting = append(c.waiting, s)
			return worked
		}
		worked = true
		bytes -= length
	}
	return worked
}

// report tells once of a session that has failed.
func (c *Core) report(s *session) {
	if err := s.ipc.Err(); err != nil && !s.told {
		s.told = true
		if c.Failed != nil {
			c.Failed(s.ipc, err)
		}
	}
}

var _ ipc.Core = (*Core)(nil)
