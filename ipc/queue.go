package ipc

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// slotQueue holds the goroutines that wait for a slot of their session, in the
// order of their coming.
type slotQueue struct {
	mu     sync.Mutex // guards turns; a leaf
	turns  []*turn
	length atomic.Int32 // of turns
}

// turn is the place of one goroutine in the queue. It is a party of the waiter,
// because whoever waits for a slot must see the end of the session even if
// nobody waits for a reply.
type turn struct {
	parking
	given atomic.Bool // out of the queue: there may be a slot
}

func (t *turn) ready() bool { return t.given.Load() }

// claimSlow waits for a slot. Errors are the context's, ErrClosed and ErrSession.
func (c *Client) claimSlow(ctx context.Context) (slot int, err error) {
	for {
		t := c.enqueue()
		// A slot released before the queue was visible was offered to nobody.
		if slot, ok := c.claim(); ok {
			c.leaveQueue(t)
			return slot, nil
		}
		if err := c.waiter.await(ctx, t); err != nil {
			c.leaveQueue(t)
			if err == ctx.Err() {
				err = fmt.Errorf("ipc: wait for a free slot (%d in flight): %w", c.g.Slots, err)
			}
			return 0, err
		}
		if slot, ok := c.claim(); ok {
			return slot, nil
		}
	}
}

func (c *Client) enqueue() *turn {
	t := &turn{parking: newParking(c)}
	q := &c.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	q.turns = append(q.turns, t)
	q.length.Store(int32(len(q.turns)))
	return t
}

// admit lets the goroutine that has waited longest try for a slot.
func (c *Client) admit() {
	q := &c.queue
	q.mu.Lock()
	if len(q.turns) == 0 {
		q.mu.Unlock()
		return
	}
	t := q.turns[0]
	q.turns[0] = nil
	q.turns = q.turns[1:]
	q.length.Store(int32(len(q.turns)))
	t.given.Store(true)
	q.mu.Unlock()
	if !t.wake() && !c.waiter.spins.Load() {
		c.waiter.rouse() // it may lead
	}
}

// leaveQueue withdraws t, or passes on what it was given meanwhile.
func (c *Client) leaveQueue(t *turn) {
	q := &c.queue
	q.mu.Lock()
	for i, other := range q.turns {
		if other == t {
			q.turns = append(q.turns[:i:i], q.turns[i+1:]...)
			q.length.Store(int32(len(q.turns)))
			q.mu.Unlock()
			return
		}
	}
	q.mu.Unlock()
	c.admit()
}

// wake wakes up to limit parked goroutines of the queue, without giving them
// anything.
func (q *slotQueue) wake(limit int) (woken bool) {
	if q.length.Load() == 0 {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, t := range q.turns {
		if limit == 0 {
			break
		}
		if t.wake() {
			limit--
			woken = true
		}
	}
	return woken
}
