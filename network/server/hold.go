package server

import (
	"math"
	"time"
)

const (
	// aloneMax is how long a sender that talks to nobody else waits for a receiver
	// that empties no buffer at all. It is half of TCP's shortest retransmission
	// timeout.
	aloneMax = 100 * time.Millisecond
	// aloneAfter is how long a sender must have talked to one receiver only.
	aloneAfter = 10 * time.Millisecond
	// patienceMax is how long senders wait for a receiver that has not kept anybody
	// waiting before; it is well below the shortest retransmission timeout of TCP.
	patienceMax = 20 * time.Millisecond
	// patienceMin is the least a receiver must have for anybody to begin to wait.
	patienceMin = time.Millisecond
	// patienceShare is the inverse of the part of the time that a receiver may
	// keep others waiting.
	patienceShare = 16
	// holdPoll is how often a receiver that is itself held is looked at: its client
	// does not ring.
	holdPoll = time.Millisecond
	// offencesMax is how many frames that it may not send a port is served in each
	// offenceSpan: a flood of them costs the server, and so its neighbours, about one
	// hundredth of a processor.
	offencesMax = 64
	offenceSpan = time.Millisecond
)

// hold is why a port is not looked at: a receiver is full, or a time has not come.
type hold struct {
	dst   *port // nil: until only
	since time.Duration
	until time.Duration
	alone bool // nobody else's frames can be behind this one: dst pays nothing
}

// patience is a receiver's purse; see the package comment.
type patience struct {
	left    time.Duration
	at      time.Duration
	waiting int // senders held for it
}

func (w *patience) settle(now time.Duration) {
	passed := max(now-w.at, 0)
	if w.waiting > 0 {
		w.left = max(w.left-passed, 0)
	} else {
		w.left = min(w.left+passed/patienceShare, patienceMax)
	}
	w.at = now
}

// holdFor keeps p with its frame until dst has room, and returns false if dst has
// been waited for long enough.
func (c *Core) holdFor(p, dst *port) bool {
	if dst.lost() {
		return false
	}
	if dst.fullAt < 0 {
		dst.fullAt = c.now
	}
	if p.alone(dst, c.now) {
		until := dst.fullAt + aloneMax
		if c.now >= until {
			return false
		}
		c.hold(p, hold{dst: dst, until: until, alone: true})
		return true
	}
	dst.patience.settle(c.now)
	if dst.patience.left < patienceMin {
		return false
	}
	dst.patience.waiting++
	c.hold(p, hold{dst: dst})
	return true
}

// offences are the frames that a port may not send, in the span that began at from.
type offences struct {
	from time.Duration
	n    int
}

// offended notes one.
func (o *offences) offended(now time.Duration) {
	if now-o.from >= offenceSpan {
		*o = offences{from: now}
	}
	o.n++
}

// tooMany tells whether the span is used up.
func (o *offences) tooMany(now time.Duration) bool {
	return o.n >= offencesMax && now-o.from < offenceSpan
}

// punish holds a port that has used up its span, until that is over. Without it a
// port could keep the server busy with what it throws away, and so keep its
// neighbours from a processor.
func (c *Core) punish(p *port) {
	if p.offences.tooMany(c.now) && p.hold == (hold{}) && !p.failed {
		c.hold(p, hold{until: p.offences.from + offenceSpan})
	}
}

// talks remembers to whom p sends.
type talks struct {
	to     *port
	at     time.Duration // of the last frame to it
	others time.Duration // of the last frame to somebody else
}

func (t *talks) note(dst *port, now time.Duration) {
	if t.to != dst {
		t.others, t.to = t.at, dst
	}
	t.at = now
}

// pause takes out a time in which p could not talk to anybody.
func (t *talks) pause(d time.Duration) {
	t.at += d
	t.others += d
}

// alone tells whether p has lately sent to dst only, so that there is nobody
// whose frames would wait behind those for dst.
func (p *port) alone(dst *port, now time.Duration) bool {
	if p.talks.to != dst {
		return now-p.talks.at > aloneAfter
	}
	return now-p.talks.others > aloneAfter
}

func (c *Core) hold(p *port, h hold) {
	h.since = c.now
	p.hold = h
	p.counters.Held++
	c.held = append(c.held, p)
	c.sessions.Hold(p.session)
}

// releaseHeld looks again at the ports whose wait is over.
func (c *Core) releaseHeld() (worked bool) {
	for i := 0; i < len(c.held); {
		if !c.over(c.held[i]) {
			i++
			continue
		}
		c.release(i)
		worked = true
	}
	return worked
}

func (c *Core) over(p *port) bool {
	h := &p.hold
	if h.dst == nil {
		return c.now >= h.until || p.mem == nil && p.mapped()
	}
	if h.dst.lost() || h.dst.room() {
		return true
	}
	if h.alone {
		return c.now >= h.until
	}
	h.dst.patience.settle(c.now)
	return h.dst.patience.left == 0
}

func (c *Core) release(i int) {
	p := c.held[i]
	c.held = append(c.held[:i], c.held[i+1:]...)
	if dst := p.hold.dst; dst != nil && !p.hold.alone {
		dst.patience.settle(c.now)
		dst.patience.waiting--
	}
	p.talks.pause(c.now - p.hold.since)
	p.hold = hold{}
	c.sessions.Release(p.session)
}

// Deadline is when the first of the held ports must be looked at, or the next peer told.
func (c *Core) Deadline() (at time.Duration, ok bool) {
	at = math.MaxInt64
	for _, p := range c.held {
		until := p.hold.until
		switch {
		case p.hold.alone || p.mem == nil:
			until = min(until, c.now+holdPoll)
		case p.hold.dst != nil:
			until = c.now + min(holdPoll, p.hold.dst.patience.left)
		}
		at = min(at, until)
	}
	if len(c.untold) > 0 {
		at = min(at, c.tellAt)
	}
	return at, at < math.MaxInt64 && !c.draining
}
