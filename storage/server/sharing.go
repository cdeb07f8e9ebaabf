package server

import (
	"math"
	"time"

	"github.com/quintet-os/quintet/storage"
)

// What the device of a volume has to do at a time for one session while others use it
// too, in bytes of transfers and of other ranges each: whoever asks for little waits for
// no more than that of each of them. A range that is not transferred may be longer, alone.
const (
	// sharedBytes is that beside sessions that ask for more than modestBytes themselves.
	sharedBytes = 2 * storage.TransferMax
	// modestBytes is that beside modest sessions, which have asked for no more than so
	// much at a time, and no more than modestRequests, for sharedFor. Longer transfers
	// go to the device in pieces then.
	modestBytes    = 64 << 10
	modestRequests = turnRequests
	// sharedFor is how long a volume counts as used after a session has asked for
	// something.
	sharedFor = 100 * time.Millisecond
)

// users knows which session has asked last, and when, and when another had.
type users struct {
	last            *session
	lastAt, otherAt time.Duration
}

// note takes down that a session asks.
func (u *users) note(by *session, now time.Duration) {
	if u.last != by {
		if u.otherAt = u.lastAt; u.last == nil {
			u.otherAt = now - sharedFor
		}
		u.last = by
	}
	u.lastAt = now
}

// beside tells whether another session than s has asked lately.
func (u *users) beside(s *session, now time.Duration) bool {
	others := u.lastAt
	if u.last == s {
		others = u.otherAt
	}
	return u.last != nil && now-others < sharedFor
}

// share is what the device may have to do at a time for a grant.
func (v *Volume) share(g *grant, now time.Duration) int64 {
	switch {
	case v.modest.beside(g.session, now):
		return modestBytes
	case v.users.beside(g.session, now):
		return sharedBytes
	}
	return math.MaxInt64
}

// pieceOf is what of an operation a device that has a share to do at a time does at once.
func pieceOf(r *storage.Request, share int64) int64 {
	if r.Op.Transfers() {
		return min(r.Length, share)
	}
	return r.Length
}

// crowds tells whether an operation has to wait because the device has enough to do for
// the session that asks for it, on a volume that others use too.
func (v *Volume) crowds(t *task, now time.Duration) bool {
	r, g := &t.request, t.grant
	if !r.Op.Ranged() {
		return false
	}
	load, share := *g.load(r.Op), v.share(g, now)
	return load > 0 && load+pieceOf(r, share) > share
}

// ask takes down what a session wants of the volume, whether it may have it or not.
func (g *grant) ask(r *storage.Request, now time.Duration) {
	if r.Op.Ranged() && (*g.load(r.Op)+r.Length > modestBytes || g.inflight >= modestRequests) {
		g.greedyAt, g.greedy = now, true
	}
}

// admitted takes down that a session uses the volume, and returns the piece of its
// operation that the device may do at once.
func (v *Volume) admitted(t *task, now time.Duration) int64 {
	g := t.grant
	piece := pieceOf(&t.request, v.share(g, now))
	v.users.note(g.session, now)
	if !g.greedy || now-g.greedyAt >= sharedFor {
		g.greedy = false
		v.modest.note(g.session, now)
	}
	return piece
}
