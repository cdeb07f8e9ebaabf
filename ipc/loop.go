package ipc

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quintet-os/quintet/internal/clock"
	"github.com/quintet-os/quintet/internal/unix"
)

const (
	// SpinBudget is how long a server or a client looks by itself before it goes
	// to sleep. It is of the order of one wake-up of another processor, so that
	// spinning costs at most twice what sleeping at once would have.
	SpinBudget = 60 * time.Microsecond
	// BeatInterval is the longest time between two heartbeats of an idle loop.
	BeatInterval = 500 * time.Millisecond

	epollIntervalNs = 50_000 // between two looks at sleeping doorbells under load
	// muteFor is how long a doorbell is not heard that rings for nothing: what its client
	// wants in earnest waits as long.
	muteFor = 5 * time.Millisecond

	loopEventsMax       = 256 // events taken from epoll at once
	postedMax           = 4   // posted functions called between two steps
	clockTurns          = 16  // idle turns between two readings of the clock
	tokenPosted   int32 = -1  // epoll tokens below zero are the loop's own
)

// Core is the part of a server that the loop drives: a step machine without
// goroutines, clock readings or system calls.
type Core interface {
	// Step does a bounded amount of work at time now (monotonic, since the start
	// of the loop) and tells whether there was any.
	Step(now time.Duration) (worked bool)
}

// Timed is implemented by a core that wants to be stepped at a certain time even
// though nothing rings.
type Timed interface {
	// Deadline returns that time, in the time of Step, and false if there is none.
	// The loop may be late by its scheduling and by a millisecond.
	Deadline() (at time.Duration, ok bool)
}

// Loop drives a core: it steps while there is work, spins for a bounded time,
// announces sleep, looks again and blocks until a doorbell or a device rings.
type Loop struct {
	core     Core
	timed    Timed // core, if it is; or nil
	sessions *Sessions
	beat     func(now time.Duration)
	epoll    *unix.Epoll
	postedFD int
	spin     uint64 // ticks; 0: never spin
	start    time.Time

	awaited []*Requester // by whose bells the loop is woken too

	tokens map[int32]*Session
	token  int32
	muted  []muted // sessions whose doorbells are not heard now, the first to be heard again first
	awoken bool    // by something else than sessions that ring for nothing

	mu     sync.Mutex // guards posted
	posted []func()
	some   atomic.Bool // posted is not empty
}

// LoopConfig describes a loop.
type LoopConfig struct {
	Core     Core
	Sessions *Sessions
	// Beat is called on the loop's thread at least every BeatInterval while the
	// loop turns; a server that hangs in Step stops beating. May be nil.
	Beat func(now time.Duration)
	// Spin bounds spinning; 0 means SpinBudget, negative means no spinning. Beside
	// a client on the same processor, spinning yields.
	Spin time.Duration
}

// NewLoop returns a loop that has not started.
func NewLoop(cfg LoopConfig) (*Loop, error) {
	epoll, err := unix.NewEpoll(loopEventsMax)
	if err != nil {
		return nil, fmt.Errorf("ipc: loop: %w", err)
	}
	l := &Loop{core: cfg.Core, sessions: cfg.Sessions, beat: cfg.Beat, epoll: epoll,
		start: time.Now(), tokens: make(map[int32]*Session)}
	l.timed, _ = cfg.Core.(Timed)
	if l.beat == nil {
		l.beat = func(time.Duration) {}
	}
	l.spin = spinTicks(cfg.Spin)
	if l.postedFD, err = unix.CreateEventfd(); err == nil {
		err = l.epoll.Add(l.postedFD, tokenPosted)
	}
	if err != nil {
		l.epoll.Close()
		return nil, fmt.Errorf("ipc: loop: %w", err)
	}
	return l, nil
}

func spinTicks(d time.Duration) uint64 {
	switch {
	case d < 0:
		return 0
	case d == 0:
		d = SpinBudget
	}
	return clock.FromDuration(d)
}

// Watch makes the loop step when fd, a device's completion eventfd, is written.
// The loop never reads it.
func (l *Loop) Watch(fd int) error { return l.epoll.Add(fd, tokenPosted) }

// Unwatch ends Watch.
func (l *Loop) Unwatch(fd int) error { return l.epoll.Remove(fd) }

// Await has the loop woken by the replies to a requester, attached already, that its core
// polls in its steps. It is called on the loop's thread or before Run.
func (l *Loop) Await(r *Requester) error {
	if err := l.epoll.Add(r.bell, tokenPosted); err != nil {
		return fmt.Errorf("ipc: watch the bell of a requester: %w", err)
	}
	l.awaited = append(l.awaited, r)
	return nil
}

// Forget ends Await.
func (l *Loop) Forget(r *Requester) error {
	l.awaited = slices.DeleteFunc(l.awaited, func(o *Requester) bool { return o == r })
	return l.epoll.Remove(r.bell)
}

// announceSleep tells the servers of all requesters to ring; false if one has something
// for the core already.
func (l *Loop) announceSleep() bool {
	for i, r := range l.awaited {
		if !r.Sleep() {
			l.announceAwake(i + 1)
			return false
		}
	}
	return true
}

// announceAwake takes back what the first n requesters have announced.
func (l *Loop) announceAwake(n int) {
	for _, r := range l.awaited[:n] {
		r.Wake()
	}
}

// Add puts a session, attached already, under the loop. It is called on the
// loop's thread or before Run.
func (l *Loop) Add(s *Session) error {
	// The numbers may begin anew in a long life; those in use are left out.
	for l.token = (l.token + 1) & math.MaxInt32; l.tokens[l.token] != nil; {
		l.token = (l.token + 1) & math.MaxInt32
	}
	if err := l.epoll.Add(s.doorbell, l.token); err != nil {
		return fmt.Errorf("ipc: watch the doorbell of session %d: %w", s.ID, err)
	}
	s.token = l.token
	l.tokens[l.token] = s
	l.sessions.Add(s)
	return nil
}

// Remove takes a session away and ends it: see Session.End. It is called on the
// loop's thread, and the doorbell closed later.
func (l *Loop) Remove(s *Session) error {
	l.sessions.Remove(s)
	if l.tokens[s.token] != s {
		return nil
	}
	delete(l.tokens, s.token)
	if i := slices.IndexFunc(l.muted, func(m muted) bool { return m.session == s }); i >= 0 {
		l.muted = slices.Delete(l.muted, i, i+1)
		return nil
	}
	return l.epoll.Remove(s.doorbell)
}

// Post has f called on the loop's thread between two steps, after what was posted
// before and with few others at a time: the sessions are served in between. It may be
// called from any goroutine and does not wait.
func (l *Loop) Post(f func()) {
	l.mu.Lock()
	l.posted = append(l.posted, f)
	l.some.Store(true)
	l.mu.Unlock()
	// The eventfd is never full: nobody but the loop's owner rings it.
	_ = unix.Ring(l.postedFD)
}

// runPosted calls some of what was posted, and tells whether there was anything.
func (l *Loop) runPosted() bool {
	if !l.some.Load() {
		return false
	}
	l.mu.Lock()
	n := min(len(l.posted), postedMax)
	posted := l.posted[:n:n]
	l.posted = l.posted[n:]
	if len(l.posted) == 0 {
		l.posted = nil
		l.some.Store(false)
	}
	l.mu.Unlock()
	for i, f := range posted {
		f()
		posted[i] = nil
	}
	return true
}

// Now is the loop's time: monotonic, since NewLoop.
func (l *Loop) Now() time.Duration { return time.Since(l.start) }

// Run drives the core on the calling goroutine, locked to its thread, until ctx
// ends or the kernel refuses to wait.
func (l *Loop) Run(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	stop := context.AfterFunc(ctx, func() { l.Post(func() {}) })
	defer stop()

	var idleSince uint64
	now, ticks, polled := l.Now(), clock.Ticks(), uint64(0)
	epollInterval := clock.FromDuration(epollIntervalNs)
	for turn := 0; ; turn++ {
		posted := l.runPosted()
		worked := l.core.Step(now) || posted
		l.sessions.WakeClients()
		if worked {
			idleSince = 0
		}
		if worked || turn%clockTurns == 0 || idleSince == 0 {
			ticks = clock.Ticks()
		}
		if !worked {
			if idleSince == 0 {
				idleSince = ticks
			}
			if l.sessions.Cool(ticks, l.spin) == 0 && ticks-idleSince >= l.spin {
				if ctx.Err() != nil {
					return nil
				}
				if !l.announceSleep() {
					idleSince = 0
					continue
				}
				err := l.sleep(&now)
				l.announceAwake(len(l.awaited))
				if err != nil {
					return err
				}
				l.sessions.settle()
				ticks = clock.Ticks()
				polled, idleSince = ticks, 0
				if !l.awoken {
					idleSince = ticks - l.spin // one look is enough
				}
				continue
			}
			// Whoever was just answered, or sent something by a third party, may have no
			// other processor to run on.
			if l.sessions.beside || turn%spinCheckTurns == 0 {
				unix.Yield()
			} else {
				clock.Pause()
			}
		}
		if ticks-polled >= epollInterval {
			if ctx.Err() != nil {
				return nil
			}
			polled = ticks
			l.sessions.settle()
			now = l.Now()
			l.beat(now)
			if err := l.wait(0); err != nil {
				return err
			}
		}
	}
}

// sleep blocks until something rings or the core's deadline has come. All
// sessions have announced it.
func (l *Loop) sleep(now *time.Duration) error {
	*now = l.Now()
	l.beat(*now)
	timeout := BeatInterval
	if len(l.muted) > 0 {
		timeout = min(timeout, max(l.muted[0].until-*now, 0))
	}
	if l.timed != nil {
		if at, ok := l.timed.Deadline(); ok {
			timeout = min(timeout, max(at-*now, 0))
		}
	}
	if err := l.wait(timeout); err != nil {
		return err
	}
	*now = l.Now()
	l.beat(*now)
	return nil
}

func (l *Loop) wait(timeout time.Duration) error {
	l.awoken = false
	err := l.unmute(l.Now())
	if err == nil {
		err = l.epoll.Wait(timeout, l.report)
	}
	if err != nil {
		return fmt.Errorf("ipc: loop: %w", err)
	}
	return nil
}

func (l *Loop) report(token int32) {
	s := l.tokens[token]
	if s == nil || s.vain == 0 {
		l.awoken = true
	}
	if s != nil && !l.sessions.Ring(s) && l.epoll.Remove(s.doorbell) == nil {
		l.muted = append(l.muted, muted{s, l.Now() + muteFor})
	}
}

// muted is a session whose doorbell is not heard until then.
type muted struct {
	session *Session
	until   time.Duration
}

// unmute hears those again whose time has come, and looks at each of them once, since
// an eventfd that is not read is reported when it is added.
func (l *Loop) unmute(now time.Duration) error {
	for len(l.muted) > 0 && l.muted[0].until <= now {
		s := l.muted[0].session
		l.muted = l.muted[1:]
		s.vain = vainMax / 2
		if err := l.epoll.Add(s.doorbell, s.token); err != nil {
			return fmt.Errorf("watch the doorbell of session %d: %w", s.ID, err)
		}
	}
	return nil
}

// Close releases the loop's descriptors. Run must have returned.
func (l *Loop) Close() error {
	err := l.epoll.Close()
	if e := unix.Close(l.postedFD); err == nil {
		err = e
	}
	return err
}
