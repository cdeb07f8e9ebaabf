package server

import (
	"fmt"
	"time"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/storage"
)

// task is a request from its taking to its reply.
//
//	taken -> head of its session -> admitted (in the guard) -> with the device -> answered
//	              limits, depth          earlier overlaps
type task struct {
	number     uint32 // its place in Core.tasks, and tag at the device
	session    *session
	slot       int
	request    storage.Request
	volume     *Volume
	region     *region
	blockers   int // earlier tasks it waits for
	dependents []*task
	admitted   bool
	onCPU      bool
	waitSince  time.Duration // since when it waits for its region, if late
	late       bool
}

// take makes a task of a request, checks it, and leaves it as the head of its
// session, unless it has been answered.
func (c *Core) take(s *session, r *ipc.Request) {
	t := c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	*t = task{number: t.number, dependents: t.dependents, session: s, slot: r.Slot, onCPU: true}
	s.ipc.Begin(r.Slot)
	s.head = t
	s.taken++
	s.counters.Requests++
	c.total.Requests++
	if r.Replayed {
		s.counters.Replayed++
		c.total.Replayed++
	}
	if r.Attempts >= storage.AttemptsMax {
		c.refuse(t, storage.KindPoison)
		return
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
		c.reply(t, &storage.Reply{Info: s.grants[t.request.Volume].info})
	case t.request.Op.Ranged() && t.request.Length == 0:
		c.reply(t, &storage.Reply{})
	}
}

// check compares a task's request with the volume.
func (c *Core) check(t *task) storage.Kind {
	r := &t.request
	if r.Volume >= len(t.session.grants) {
		return storage.KindMalformed
	}
	grant := &t.session.grants[r.Volume]
	t.volume = grant.volume
	return r.Check(&grant.info)
}

// findRegion compares a task's request with its region. False when the region is
// not known yet: its grant travels by way of the supervisor, and a quick client
// may overtake it.
func (c *Core) findRegion(t *task) (storage.Kind, bool) {
	r := &t.request
	if t.region = t.session.region(r.Region); t.region == nil {
		if !t.late {
			t.late, t.waitSince = true, c.now
		}
		return storage.KindMalformed, c.now-t.waitSince >= regionWaitMax
	}
	return r.CheckRegion(int64(len(t.region.mem)), t.region.writable, t.volume.info.BlockSize), true
}

// admit lets the head of a session go on if it may. Forced admission knows no
// limits: what a dead server had begun was within them.
func (c *Core) admit(t *task, forced bool) bool {
	s, r := t.session, &t.request
	if r.Op.Transfers() {
		kind, known := c.findRegion(t)
		switch {
		case !known:
			return false
		case kind == storage.KindMalformed:
			s.ipc.Fail(ipc.ReasonRequest, fmt.Sprintf("slot %d: no region %d was granted", t.slot, r.Region))
			fallthrough
		case kind != storage.KindOK:
			c.refuse(t, kind)
			return true
		}
	}
	if !forced {
		full := s.inflight > 0 && (s.inflight >= s.limits.Requests || r.Op.Transfers() && s.bytes+r.Length > s.limits.Bytes)
		if full || len(t.volume.ready) > 0 {
			s.counters.Waits++
			return false
		}
	}
	s.head = nil
	t.admitted = true
	s.inflight++
	t.volume.inflight++
	if r.Op.Transfers() {
		s.bytes += r.Length
		t.region.users++
	}
	if r.Op.Ranged() {
		t.volume.guard.add(t)
	}
	if t.blockers == 0 {
		c.start(t)
	} else {
		c.park(t)
	}
	return true
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
		Buffer: storage.BufferNone, Offset: r.Offset, Length: r.Length,
	}
	if t.region != nil {
		op.Mem = t.region.mem[r.RegionOffset : r.RegionOffset+r.Length : r.RegionOffset+r.Length]
		op.Buffer = t.region.buffer(t.volume)
	}
	if !t.volume.device.Submit(&op) {
		t.volume.ready = append(t.volume.ready, t)
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
		t.volume.counters.count(&t.request)
	} else {
		t.volume.counters.Errors++
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
	s := t.session
	s.taken--
	if s.head == t {
		s.head = nil
	}
	if t.admitted {
		s.inflight--
		t.volume.inflight--
		if t.request.Op.Transfers() {
			s.bytes -= t.request.Length
			if t.region.users--; t.region.users == 0 && t.region.released != nil {
				t.region.release()
			}
		}
		if t.request.Op.Ranged() {
			t.volume.guard.remove(t, c.start)
		}
	}
	c.free = append(c.free, t)
	if s.removed != nil && s.taken == 0 {
		c.forget(s)
	}
}
