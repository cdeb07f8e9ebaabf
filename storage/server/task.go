package server

import (
	"fmt"
	"time"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/storage"
)

// task is a request from its taking to its reply.
//
//	taken -> queue of its grant -> admitted (in the guard) -> with the device -> answered
//	             limits, depth          earlier overlaps
//
// One that names an unknown region is put aside before it is admitted.
type task struct {
	number     uint32 // its place in Core.tasks, and tag at the device
	session    *session
	slot       int
	request    storage.Request
	grant      *grant
	region     *region
	blockers   int // earlier tasks it waits for
	dependents []*task
	admitted   bool
	piece      int64 // of its range, what the device has to do at a time
	onCPU      bool
	waitSince  time.Duration // since when it waits for its region, if it does
	aside      bool          // it does, or has
}

// take makes a task of a request and checks it. It returns nil if that was enough
// to answer it.
func (c *Core) take(s *session, r *ipc.Request) *task {
	t := c.task()
	t.session, t.slot, t.onCPU = s, r.Slot, true
	s.ipc.Begin(r.Slot)
	s.taken++
	s.counters.Requests++
	c.total.Requests++
	if r.Replayed {
		s.counters.Replayed++
		c.total.Replayed++
	}
	if r.Attempts >= ipc.PoisonAttempts {
		c.refuse(t, storage.KindPoison)
		return nil
	}
	words := [7]uint64(r.Words)
	var kind storage.Kind
	if t.request, kind = storage.DecodeRequest(&words); kind == storage.KindOK {
		kind = c.check(t)
	}
	switch {
	case kind == storage.KindMalformed:
		s.ipc.Fail(ipc.ReasonRequest, fmt.Sprintf("slot %d: %v: % x", r.Slot, kind, words))
		c.refuse(t, kind)
	case kind != storage.KindOK:
		c.refuse(t, kind)
	case t.request.Op == storage.OpInfo:
		c.reply(t, &storage.Reply{Info: t.grant.info})
	case t.request.Op.Ranged() && t.request.Length == 0:
		c.reply(t, &storage.Reply{})
	default:
		return t
	}
	return nil
}

// task returns a task that is not in use. There are no more of them than the
// sessions have slots.
func (c *Core) task() *task {
	if len(c.free) == 0 {
		t := &task{number: uint32(len(c.tasks))}
		c.tasks = append(c.tasks, t)
		return t
	}
	t := c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	*t = task{number: t.number, dependents: t.dependents}
	return t
}

// check compares a task's request with the volume.
func (c *Core) check(t *task) storage.Kind {
	r := &t.request
	if r.Volume >= len(t.session.grants) {
		return storage.KindMalformed
	}
	t.grant = &t.session.grants[r.Volume]
	return r.Check(&t.grant.info)
}

// admit lets a task go on if it may: if limits and device have room. True also when it
// has been put aside for the sake of its region. A region is looked up each time:
// nothing keeps it while the task waits.
func (c *Core) admit(t *task) bool {
	var region *region
	if t.request.Op.Transfers() {
		if region = t.session.region(t.request.Region); region == nil {
			c.putAside(t)
			return true
		}
	}
	t.grant.ask(&t.request, c.now)
	if v := t.grant.volume; t.grant.full(&t.request) || len(v.ready) > 0 || v.crowds(t, c.now) {
		t.session.counters.Waits++
		return false
	}
	c.enter(t, region)
	return true
}

// putAside lets a task wait for its region, whose grant travels by way of the
// supervisor: a quick client may overtake it. Nothing else waits for the task.
func (c *Core) putAside(t *task) {
	if !t.aside {
		t.aside, t.waitSince = true, c.now
	}
	c.park(t)
	c.aside = append(c.aside, t)
}

// serveAside looks after some of the tasks that wait for their regions.
func (c *Core) serveAside() (worked bool) {
	for range min(len(c.aside), stepTurns) {
		t := c.aside[0]
		c.aside = c.aside[1:]
		switch g := t.grant; {
		case t.session.region(t.request.Region) != nil:
			worked = true
			if len(g.queue) > 0 || !c.admit(t) {
				c.enqueue(g, t)
				c.putOff(g, turn{})
			}
		case c.now-t.waitSince >= regionWaitMax:
			worked = true
			c.refuse(t, storage.KindRegion)
		default:
			c.aside = append(c.aside, t)
		}
	}
	return worked
}

// Deadline implements ipc.Timed: a request whose region does not come is refused in time.
func (c *Core) Deadline() (at time.Duration, ok bool) {
	for i, t := range c.aside {
		if until := t.waitSince + regionWaitMax; i == 0 || until < at {
			at = until
		}
	}
	return at, len(c.aside) > 0
}

// readmit lets a task go on that a dead server had started. It knows no limits:
// what the dead server had started was within them. Nor does it wait for a
// region: one that is not known now has been revoked.
func (c *Core) readmit(t *task) {
	var region *region
	if t.request.Op.Transfers() {
		if region = t.session.region(t.request.Region); region == nil {
			c.refuse(t, storage.KindRegion)
			return
		}
	}
	t.grant.ask(&t.request, c.now)
	c.enter(t, region)
}

// enter admits a task that nothing but earlier overlaps can hold up.
func (c *Core) enter(t *task, region *region) {
	g, r := t.grant, &t.request
	if region != nil {
		if kind := r.CheckRegion(int64(len(region.mem)), region.writable, g.info.BlockSize); kind != storage.KindOK {
			c.refuse(t, kind)
			return
		}
		t.region = region
		region.users++
	}
	t.admitted = true
	g.inflight++
	g.volume.inflight++
	if r.Op.Transfers() {
		g.bytes += r.Length
	}
	if r.Op.Ranged() {
		t.piece = g.volume.admitted(t, c.now)
		*g.load(r.Op) += t.piece
		g.volume.guard.add(t)
	}
	if t.blockers == 0 {
		c.start(t)
	} else {
		c.park(t)
	}
}

// start hands a task to its device, or queues it for when the device has room.
func (c *Core) start(t *task) {
	s, r := t.session, &t.request
	if s.removed != nil {
		c.finish(t)
		return
	}
	if !t.onCPU {
		t.onCPU = true
		s.ipc.Begin(t.slot)
	}
	s.ipc.Execute(t.slot)
	op := storage.Operation{
		Tag: uint64(t.number), Op: r.Op, Flags: r.Flags,
		Buffer: storage.BufferNone, Offset: r.Offset, Length: r.Length, Piece: t.piece,
	}
	if t.region != nil {
		op.Mem = t.region.mem[r.RegionOffset : r.RegionOffset+r.Length : r.RegionOffset+r.Length]
		op.Buffer = c.buffer(s, t.region, t.grant.volume, r.RegionOffset, r.Length)
	}
	if v := t.grant.volume; !v.device.Submit(&op) {
		v.ready = append(v.ready, t)
	}
	c.park(t)
}

func (c *Core) park(t *task) {
	if t.onCPU {
		t.onCPU = false
		t.session.ipc.Park(t.slot)
	}
}

// complete answers a task with what its device says.
func (c *Core) complete(t *task, done *storage.Completion) {
	if done.Kind == storage.KindOK {
		t.session.counters.count(&t.request)
		c.total.count(&t.request)
		t.grant.volume.counters.count(&t.request)
	} else {
		t.grant.volume.counters.Errors++
	}
	c.reply(t, &storage.Reply{Kind: done.Kind, Errno: done.Errno, Done: done.Done})
}

// refuse answers a task that is not executed.
func (c *Core) refuse(t *task, kind storage.Kind) { c.reply(t, &storage.Reply{Kind: kind}) }

func (c *Core) reply(t *task, reply *storage.Reply) {
	if reply.Kind != storage.KindOK {
		t.session.counters.Errors++
		c.total.Errors++
	}
	if t.session.removed == nil {
		words := ipc.Words(reply.Encode())
		t.session.ipc.Reply(t.slot, &words)
	}
	c.finish(t)
}

// finish lets go of all that a task holds. Its reply, if any, has been
// published: only now may what overlaps it start.
func (c *Core) finish(t *task) {
	s, g := t.session, t.grant
	s.taken--
	if t.admitted {
		g.inflight--
		g.volume.inflight--
		if t.request.Op.Transfers() {
			g.bytes -= t.request.Length
			if t.region.users--; t.region.users == 0 && t.region.released != nil {
				t.region.release()
			}
		}
		if t.request.Op.Ranged() {
			*g.load(t.request.Op) -= t.piece
			g.volume.guard.remove(t, c.start)
		}
		if len(g.queue) > 0 {
			c.putOff(g, turn{})
		}
	}
	c.free = append(c.free, t)
	if s.removed != nil && s.taken == 0 {
		c.forget(s)
	}
}
