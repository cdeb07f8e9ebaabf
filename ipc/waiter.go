package ipc

import (
	"context"
	"math"
	"math/bits"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/quintet-os/quintet/internal/clock"
	"github.com/quintet-os/quintet/internal/unix"
)

const (
	// waiterSessionsMax sessions share a waiter: their bells and the kick word fill
	// one futex_waitv.
	waiterSessionsMax = unix.FutexWordsMax - 1
	// spinCheckTurns looks at the reply pass between two looks at everything else.
	spinCheckTurns = 32
)

// waiter lets the callers of up to waiterSessionsMax sessions wait in one
// thread. Whoever has to wait first becomes the leader: it looks for its own
// reply and everybody else's, first spinning, then blocked on all bells at once.
// The others park. A leader that has its reply passes the lead on.
//
// So a lone caller is woken by the kernel directly, without a second goroutine
// in between, and many callers need one blocked thread.
type waiter struct {
	leader atomic.Bool
	parked atomic.Int32  // callers parked in all sessions
	kick   atomic.Uint32 // futex; changes when the leader must look around
	spins  atomic.Bool   // the leader is spinning: it looks at all sessions

	mu       sync.Mutex                // guards changes of sessions; a leaf
	sessions atomic.Pointer[[]*Client] // immutable; nil when empty

	// Of the leader.
	words []unix.FutexWaiter
	bells []*Client
}

var waiters struct {
	mu  sync.Mutex // guards all; taken before a waiter's mu
	all []*waiter
}

// spinners counts the leaders of this process that are spinning: one less than
// the processors, and at least one, so that nobody spins in the place of what he
// waits for.
var spinners atomic.Int32

// joinWaiter adds c to a waiter of the process with room.
func joinWaiter(c *Client) *waiter {
	waiters.mu.Lock()
	defer waiters.mu.Unlock()
	for _, w := range waiters.all {
		if w.join(c) {
			return w
		}
	}
	w := &waiter{}
	w.join(c)
	waiters.all = append(waiters.all, w)
	return w
}

func (w *waiter) members() []*Client {
	if p := w.sessions.Load(); p != nil {
		return *p
	}
	return nil
}

func (w *waiter) join(c *Client) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	members := w.members()
	if len(members) >= waiterSessionsMax {
		return false
	}
	members = append(slices.Clip(members), c)
	w.sessions.Store(&members)
	return true
}

// leave takes c out after its end, and wakes all its callers.
func (w *waiter) leave(c *Client) {
	w.mu.Lock()
	members := slices.DeleteFunc(slices.Clone(w.members()), func(o *Client) bool { return o == c })
	w.sessions.Store(&members)
	w.mu.Unlock()
	w.rouse()
	c.wakeAll()
}

// rouse makes the leader look around, if it is blocked or about to be.
func (w *waiter) rouse() {
	w.kick.Add(1)
	unix.FutexWake(kickWord(&w.kick))
}

// party is one goroutine that waits for something in a session.
type party interface {
	// ready tells whether what it waits for is there.
	ready() bool
	session() *Client
	// park asks for a token in the channel when ready holds or the lead is free.
	// unpark withdraws that, and returns false if a token has been sent.
	park() chan struct{}
	unpark() bool
}

// parking is the parked state of a party that is no Call.
type parking struct {
	client *Client
	waits  atomic.Bool
	token  chan struct{} // holds one after somebody else cleared waits
}

func newParking(c *Client) parking { return parking{client: c, token: make(chan struct{}, 1)} }

func (p *parking) session() *Client { return p.client }

func (p *parking) park() chan struct{} {
	p.client.parked.Add(1)
	p.client.waiter.parked.Add(1)
	p.waits.Store(true)
	return p.token
}

func (p *parking) unpark() bool {
	if !p.waits.Swap(false) {
		return false
	}
	p.client.parked.Add(-1)
	p.client.waiter.parked.Add(-1)
	return true
}

func (p *parking) wake() bool {
	if p.waits.Load() && p.unpark() {
		p.token <- struct{}{}
		return true
	}
	return false
}

func (k *Call) ready() bool      { return k.Done() }
func (k *Call) session() *Client { return k.client }

func (k *Call) park() chan struct{} {
	k.client.parked.Add(1)
	k.client.waiter.parked.Add(1)
	k.client.waiting[k.slot>>6].Or(1 << (k.slot & 63))
	return k.wake
}

func (k *Call) unpark() bool { return k.client.unwait(k.slot) }

// unwait clears a waiting bit and tells whether it was set. Whoever gets true
// owes the caller its token, unless it is the caller.
func (c *Client) unwait(slot int) bool {
	bit := uint64(1) << (slot & 63)
	if c.waiting[slot>>6].And(^bit)&bit == 0 {
		return false
	}
	c.parked.Add(-1)
	c.waiter.parked.Add(-1)
	return true
}

// await returns nil when p is ready.
func (w *waiter) await(ctx context.Context, p party) error {
	c := p.session()
	for {
		if w.leader.CompareAndSwap(false, true) {
			err := w.lead(ctx, p)
			w.leader.Store(false)
			w.promote()
			return err
		}
		token := p.park()
		// Three looks after parking, each against one side of a race: the reply came,
		// the leader left, or the leader does not look at this session.
		if p.ready() || c.Err() != nil || ctx.Err() != nil || !w.leader.Load() {
			if !p.unpark() {
				<-token
			}
		} else {
			if !c.watched.Load() && !w.spins.Load() {
				w.rouse()
			}
			select {
			case <-token:
			case <-ctx.Done():
				if !p.unpark() {
					<-token
				}
			}
		}
		err := c.Err()
		switch {
		case p.ready():
			err = nil
		case err != nil:
		case ctx.Err() != nil:
			err = ctx.Err()
		default:
			continue
		}
		w.promote()
		return err
	}
}

// promote makes a parked caller look after the lead if nobody holds it.
func (w *waiter) promote() {
	if w.parked.Load() == 0 || w.leader.Load() {
		return
	}
	for _, c := range w.members() {
		if c.parked.Load() > 0 && c.wakeOne() {
			return
		}
	}
}

// lead waits for p and wakes the parked callers whose replies have come.
func (w *waiter) lead(ctx context.Context, p party) error {
	c := p.session()
	if w.spinFor(ctx, p) {
		return nil
	}
	var done <-chan struct{}
	if done = ctx.Done(); done != nil {
		stop := context.AfterFunc(ctx, w.rouse)
		defer stop()
	}
	for {
		// Here a wake-up could be lost: the bells are read first, then sleep is
		// announced with a full fence, and only then comes the last look.
		kick := w.kick.Load()
		w.announceSleep(c, kick)
		var err error
		ready := p.ready()
		if !ready {
			if err = c.Err(); err == nil {
				err = ctx.Err()
			}
			if err == nil && !w.dispatch() {
				err = unix.FutexWaitAny(w.words, 0)
			}
		}
		w.announceAwake()
		w.dispatch()
		if ready || p.ready() {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// spinFor looks for p's reply for a bounded time, if its server is awake and a
// processor can be spared.
func (w *waiter) spinFor(ctx context.Context, p party) bool {
	c := p.session()
	if c.spinTicks == 0 || c.serverSleeps() {
		return p.ready()
	}
	if spinners.Add(1) >= max(int32(runtime.NumCPU()), 2) {
		spinners.Add(-1)
		return p.ready()
	}
	defer spinners.Add(-1)
	w.spins.Store(true)
	defer w.spins.Store(false)
	start := clock.Ticks()
	for {
		// Others of this process may have requests to submit, and nowhere else to run:
		// on a second processor they could be in the server's way. And a third process
		// may have to run before anything comes: whoever it is that the server serves.
		turns := spinCheckTurns
		if c.settle() {
			turns = 1
		}
		for range turns {
			if p.ready() {
				return true
			}
			clock.Pause()
		}
		unix.Yield()
		w.dispatch()
		runtime.Gosched()
		if clock.Ticks()-start > c.spinTicks || c.serverSleeps() || ctx.Err() != nil || c.Err() != nil {
			return p.ready()
		}
	}
}

// announceSleep collects the sessions in which somebody waits, and tells their
// servers which value of the bell this process sleeps on.
func (w *waiter) announceSleep(own *Client, kick uint32) {
	w.words = append(w.words[:0], unix.FutexWaiter{})
	w.words[0].Set(kickWord(&w.kick), kick)
	w.bells = w.bells[:0]
	for _, c := range w.members() {
		if c != own && c.parked.Load() == 0 {
			continue
		}
		c.watched.Store(true)
		bell := uint32(c.theirs.load(offBell))
		c.mine.announce(offClientSleep, uint64(bell)+1)
		w.bells = append(w.bells, c)
		w.words = append(w.words, unix.FutexWaiter{})
		w.words[len(w.words)-1].Set(c.theirs.word32(offBell), bell)
	}
}

func (w *waiter) announceAwake() {
	for i, c := range w.bells {
		c.mine.announce(offClientSleep, 0)
		c.watched.Store(false)
		w.bells[i] = nil
	}
	w.bells = w.bells[:0]
}

// dispatch wakes every parked caller whose wait is over.
func (w *waiter) dispatch() (woken bool) {
	if w.parked.Load() == 0 {
		return false
	}
	for _, c := range w.members() {
		if c.parked.Load() == 0 {
			continue
		}
		if c.Err() != nil {
			c.wakeAll()
			woken = true
			continue
		}
		woken = c.wakeAnswered() || woken
	}
	return woken
}

// wakeAnswered wakes the callers whose replies have come. A slot is in flight
// while its submit and done bits differ, which tells all of them from two lines;
// the sequence numbers have the last word, so that a server that scribbles on
// its bits wakes nobody.
func (c *Client) wakeAnswered() (woken bool) {
	for w := range c.words {
		waiting := c.waiting[w].Load()
		if waiting == 0 {
			continue
		}
		over := waiting &^ (c.mine.load(offSubmitBits+w*8) ^ c.theirs.load(offDoneBits+w*8))
		for m := over; m != 0; m &= m - 1 {
			off := c.g.record(w<<6 + bits.TrailingZeros64(m))
			if c.mine.load(off) != c.theirs.load(off) {
				over &^= m & -m
			}
		}
		woken = c.wakeBits(w, over) || woken
	}
	return c.rings.wakeReady() || woken
}

func (c *Client) wakeBits(w int, mask uint64) (woken bool) {
	for ; mask != 0; mask &= mask - 1 {
		slot := w<<6 + bits.TrailingZeros64(mask)
		if c.unwait(slot) {
			c.calls[slot].wake <- struct{}{}
			woken = true
		}
	}
	return woken
}

// wakeAll wakes every parked caller of the session.
func (c *Client) wakeAll() {
	for w := range c.words {
		c.wakeBits(w, c.waiting[w].Load())
	}
	c.rings.wake()
	c.queue.wake(math.MaxInt)
}

// wakeOne wakes one parked caller, whose wait need not be over.
func (c *Client) wakeOne() bool {
	for w := range c.words {
		for m := c.waiting[w].Load(); m != 0; m &= m - 1 {
			if c.wakeBits(w, m&-m) {
				return true
			}
		}
	}
	return c.rings.wake() || c.queue.wake(1)
}
