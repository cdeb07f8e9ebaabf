package ipc

import (
	"context"
	"sync/atomic"
)

// clientRings are a client's ends of its rings, and the goroutine that waits for
// them.
type clientRings struct {
	parking
	out  []Producer
	in   []Consumer
	seen atomic.Uint64 // sum of the tails of in when the waiting goroutine last looked
}

func (c *Client) makeRings() {
	r := &c.rings
	r.parking = newParking(c)
	r.out = make([]Producer, c.g.RingsOut)
	for i := range r.out {
		r.out[i] = Producer{mine: c.mine, theirs: c.theirs, entries: c.g.RingEntries,
			tailAt: c.g.outIndex(i), headAt: c.g.outIndex(i), buf: c.g.outRing(i), rouse: c.ringIfAsleep}
		r.out[i].attach()
	}
	r.in = make([]Consumer, c.g.RingsIn)
	for i := range r.in {
		r.in[i] = Consumer{mine: c.mine, theirs: c.theirs, entries: c.g.RingEntries,
			tailAt: c.g.inIndex(i), headAt: c.g.inIndex(i), buf: c.g.inRing(i), rouse: c.ringIfAsleep}
		r.in[i].attach()
	}
}

// watch ends the session from now on, and now, if an index of the server makes no
// sense: its rings would carry nothing any more, and look full or filled for ever.
func (r *clientRings) watch() {
	broke := func(err error) { r.client.Fail(ReasonRing, err.Error()) }
	for i := range r.out {
		r.out[i].broke = broke
		if err := r.out[i].err; err != nil {
			broke(err)
		}
	}
	for i := range r.in {
		r.in[i].broke = broke
		if err := r.in[i].err; err != nil {
			broke(err)
		}
	}
}

// Out returns the filling end of the ring towards the server. It belongs to one
// goroutine at a time, which need not be the one that waits.
func (c *Client) Out(ring int) *Producer { return &c.rings.out[ring] }

// In returns the emptying end of the ring from the server. All of these ends
// belong to the goroutine that calls WaitRings.
func (c *Client) In(ring int) *Consumer { return &c.rings.in[ring] }

// WaitRings blocks until the server has published descriptors since the caller
// last looked with Available or Pop, or has made room in a ring that was full
// when its owner last looked with Free or Push. One goroutine of a session may
// wait. Errors are the context's, even if there is no need to wait, ErrClosed and
// ErrSession.
func (c *Client) WaitRings(ctx context.Context) error {
	r := &c.rings
	if c.closed.Load() {
		return c.Err()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	var seen uint64
	for i := range r.in {
		seen += r.in[i].tail
	}
	r.seen.Store(seen)
	if r.ready() {
		return nil
	}
	return c.waiter.await(ctx, r)
}

// ready compares sums: the indices only grow.
func (r *clientRings) ready() bool {
	var now uint64
	for i := range r.in {
		now += r.client.theirs.load(r.in[i].tailAt)
	}
	if now != r.seen.Load() {
		return true
	}
	for i := range r.out {
		if r.out[i].gained() {
			return true
		}
	}
	return false
}

func (r *clientRings) wakeReady() bool { return r.waits.Load() && r.ready() && r.wake() }
