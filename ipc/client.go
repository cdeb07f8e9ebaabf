package ipc

import (
	"context"
	"fmt"
	"math/bits"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/quintet-os/quintet/internal/clock"
	"github.com/quintet-os/quintet/internal/unix"
)

// spinFirstTurns pauses come before anything else when a caller waits.
const spinFirstTurns = 32

// ClientConfig describes one session to the client.
type ClientConfig struct {
	Geometry Geometry
	// Client is the client's own segment, mapped for writing and formatted; Server
	// is the server's, mapped read-only.
	Client, Server []byte
	// Doorbell is the eventfd that wakes the server. The Client does not close it.
	Doorbell int
	// Spin bounds the spinning of a caller that waits while the server is awake; 0
	// means SpinBudget, negative means no spinning.
	Spin time.Duration
	// Unmap, if set, is called once nobody can touch the segments any more, which
	// is some time after Close.
	Unmap func()
}

// Client is the client's side of one session. All methods may be called from any
// number of goroutines.
type Client struct {
	g            Geometry
	mine, theirs memory
	words        int
	doorbell     int
	spinTicks    uint64 // 0: never spin
	calls        []Call
	// free and waiting hold one bit a slot: nobody owns it; its caller is parked
	// and wants to be woken by whoever leads the waiter.
	free, waiting [SlotsMax / 64]atomic.Uint64
	parked        atomic.Int32 // population of waiting, parked ring waits and turns
	watched       atomic.Bool  // the leader of the waiter looks at this session
	rung          atomic.Uint64
	closed        atomic.Bool
	failed        atomic.Pointer[SessionError] // by Fail
	waiter        *waiter
	rings         clientRings
	queue         slotQueue
}

// Call is one request in flight. It belongs to the goroutine that started it
// until Wait has returned the reply, or Abandon was called.
type Call struct {
	client  *Client
	slot    int
	seq     uint64
	started uint64        // ticks, for Inspect
	wake    chan struct{} // holds a token after somebody cleared the waiting bit
}

// NewClient returns the client's side of a session. Errors are ErrGeometry,
// ErrVersion and ErrHost.
func NewClient(cfg ClientConfig) (*Client, error) {
	if err := checkHost(); err != nil {
		return nil, err
	}
	g := cfg.Geometry
	if err := checkSegment(cfg.Client, g, g.ClientBytes()); err != nil {
		return nil, fmt.Errorf("own segment: %w", err)
	}
	if err := checkSegment(cfg.Server, g, g.ServerBytes()); err != nil {
		return nil, fmt.Errorf("server segment: %w", err)
	}
	c := &Client{g: g, mine: newMemory(cfg.Client), theirs: newMemory(cfg.Server), words: g.bitWords(),
		doorbell: cfg.Doorbell, spinTicks: spinTicks(cfg.Spin), calls: make([]Call, g.Slots)}
	if err := checkHeader(c.theirs); err != nil {
		return nil, err
	}
	for slot := range c.calls {
		c.calls[slot] = Call{client: c, slot: slot, wake: make(chan struct{}, 1)}
		c.free[slot>>6].Or(1 << (slot & 63))
	}
	c.makeRings()
	c.waiter = joinWaiter(c)
	c.rings.watch()
	if cfg.Unmap != nil {
		runtime.AddCleanup(c, func(unmap func()) { unmap() }, cfg.Unmap)
	}
	return c, nil
}

// Call submits a request and waits for its reply. If ctx ends first, it returns
// the context's error; the request may still be executed, and its slot is
// reused only after its reply. Buffers named in the request would still be the
// server's: callers with buffers use Start. Other errors are ErrClosed and
// ErrSession.
func (c *Client) Call(ctx context.Context, req, reply *Words) error {
	k, err := c.Start(ctx, req)
	if err != nil {
		return err
	}
	err = k.Wait(ctx, reply)
	if err != nil {
		k.Abandon(nil)
	}
	return err
}

// Start submits a request. If no slot is free it waits for one until ctx ends:
// that is the back-pressure. Errors are the context's, ErrClosed and ErrSession.
func (c *Client) Start(ctx context.Context, req *Words) (*Call, error) {
	slot, ok := c.claim()
	if !ok {
		var err error
		if slot, err = c.claimSlow(ctx); err != nil {
			return nil, err
		}
	}
	if c.closed.Load() {
		c.release(slot)
		return nil, c.Err()
	}
	k := &c.calls[slot]
	k.seq++
	storeRelease(&k.started, clock.Ticks())
	off := c.g.record(slot)
	c.mine.putWords(off, req)
	c.mine.publish(off, k.seq)
	c.mine.toggle(offSubmitBits, slot, k.seq)
	c.ringIfAsleep()
	return k, nil
}

// ringIfAsleep rings the doorbell once for each time the server announces sleep.
// The caller has put a full fence between its publication and this look: here a
// wake-up could be lost.
func (c *Client) ringIfAsleep() {
	epoch := c.theirs.load(offSleepEpoch)
	if epoch&1 != 0 && c.rung.Load() != epoch && c.rung.Swap(epoch) != epoch {
		// Only a closed descriptor can fail, and then nobody listens.
		_ = unix.Ring(c.doorbell)
		runtime.KeepAlive(c) // Unmap may close the descriptor
	}
}

// serverSleeps tells whether the server has announced sleep.
func (c *Client) serverSleeps() bool { return c.theirs.load(offSleepEpoch)&1 != 0 }

// Wait returns the reply, which may be nil if nobody wants it. After an error
// the request is still in flight: call Wait again, or Abandon. Errors are the
// context's, ErrClosed and ErrSession.
func (k *Call) Wait(ctx context.Context, reply *Words) error {
	if !k.spin() {
		if err := k.client.waiter.await(ctx, k); err != nil {
			return err
		}
	}
	c := k.client
	if reply != nil {
		c.theirs.getWords(c.g.record(k.slot), reply)
	}
	c.release(k.slot)
	runtime.KeepAlive(c)
	return nil
}

// spin looks for the reply for the time of a fast round trip, without any of the
// bookkeeping that waiting takes.
func (k *Call) spin() bool {
	if k.Done() {
		return true
	}
	if k.client.spinTicks == 0 || k.client.serverSleeps() || k.client.besideServer() {
		return false
	}
	for range spinFirstTurns {
		clock.Pause()
		if k.Done() {
			return true
		}
	}
	return false
}

// Done tells whether the reply has come, so that Wait would not block.
func (k *Call) Done() bool {
	return k.client.theirs.load(k.client.g.record(k.slot)) == k.seq
}

// Abandon gives up a call whose Wait has failed. The slot, and the buffers named
// in the request, stay the server's until the reply; then release is called,
// unless it is nil. On a session that has ended it is never called.
func (k *Call) Abandon(release func()) {
	if k.client.Err() != nil {
		return
	}
	// One goroutine for each abandoned call; there are at most SlotsMax.
	go func() {
		if k.Wait(context.Background(), nil) == nil && release != nil {
			release()
		}
	}()
}

// claim takes a free slot, the lowest first, so that the same few records stay
// in the caches.
func (c *Client) claim() (int, bool) {
	for w := range c.words {
		for {
			m := c.free[w].Load()
			if m == 0 {
				break
			}
			if c.free[w].CompareAndSwap(m, m&(m-1)) {
				return w<<6 + bits.TrailingZeros64(m), true
			}
		}
	}
	return 0, false
}

func (c *Client) release(slot int) {
	c.free[slot>>6].Or(1 << (slot & 63))
	if c.queue.length.Load() > 0 {
		c.admit()
	}
}

// Err returns nil while the session is open, ErrClosed after Close, and a
// *SessionError if the server or Fail has ended it.
func (c *Client) Err() error {
	if c.closed.Load() {
		if err := c.failed.Load(); err != nil {
			return err
		}
		return ErrClosed
	}
	state := c.theirs.load(offState)
	runtime.KeepAlive(c)
	if state != stateOpen {
		return &SessionError{Reason: Reason(uint32(state))}
	}
	return nil
}

// Close ends the client's use of the session: calls in flight and later ones
// return ErrClosed. What is in flight may still be executed, and the buffers
// stay the server's until the supervisor confirms the end of the session.
func (c *Client) Close() error {
	c.end(nil)
	return nil
}

// Fail ends the session as if the server had, for somebody who knows that no
// server will come back.
func (c *Client) Fail(reason Reason, detail string) {
	c.end(&SessionError{Reason: reason, Detail: detail})
}

func (c *Client) end(err *SessionError) {
	if err != nil {
		c.failed.CompareAndSwap(nil, err)
	}
	if c.closed.Swap(true) {
		return
	}
	c.waiter.leave(c)
}
