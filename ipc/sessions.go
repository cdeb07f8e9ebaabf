package ipc

import "slices"

// Sessions is the set of sessions that one server core serves. A session is
// active while its client is being looked at in every step; after an idle spell
// it is put to sleep, which costs the others nothing, and its doorbell makes it
// active again. It belongs to the goroutine of the loop.
//
// What a session is kept awake for is decided here and nowhere else: by what the
// core takes at all, by what it holds, and by what lies there to be taken.
type Sessions struct {
	byID    map[uint64]*Session
	active  []*Session // and those held since the step began
	untidy  bool       // there are such
	ringing []*Session // clients to wake, in the order of their replies
	beside  bool       // the client of an active session is on this processor
	takes   Takes
	stopped bool
}

// Takes is what a core takes from its clients. What it does not take is never
// looked at: a request to a core that takes none gets no reply, and a descriptor in a
// ring that nobody reads stays there. Neither keeps a session awake.
type Takes struct {
	Requests, Rings bool
}

// look is whether a set looks at one of its sessions.
type look int8

const (
	out    look = iota // of no set
	awake              // in every step
	asleep             // when it rings
	held               // when the core releases it
)

// NewSessions returns an empty set for a core that takes everything.
func NewSessions() *Sessions {
	return &Sessions{byID: make(map[uint64]*Session), takes: Takes{Requests: true, Rings: true}}
}

// Limit says what the core takes. It is called before the first Add.
func (ss *Sessions) Limit(t Takes) { ss.takes = t }

// Add puts a session into the set, active. Adding it again does nothing.
func (ss *Sessions) Add(s *Session) {
	if s.set == ss {
		return
	}
	ss.byID[s.ID] = s
	s.set, s.look = ss, asleep
	s.deaf = !ss.takes.Requests
	for r := range s.out {
		s.out[r].paused = !ss.takes.Rings
	}
	if s.ringing {
		ss.ringing = append(ss.ringing, s)
	}
	ss.Wake(s)
}

// Remove takes a session out of the set and ends it: see Session.End. One that is
// not of the set is left alone.
func (ss *Sessions) Remove(s *Session) {
	if s.set != ss {
		return
	}
	if ss.byID[s.ID] == s {
		delete(ss.byID, s.ID)
	}
	if s.listed {
		ss.active = slices.DeleteFunc(ss.active, func(o *Session) bool { return o == s })
	}
	s.WakeClient()
	s.set, s.look, s.listed = nil, out, false
	s.End()
}

// Get returns the session with that id, or nil.
func (ss *Sessions) Get(id uint64) *Session { return ss.byID[id] }

// Active are the sessions a step looks at, and those that are held in the course of it.
// The slice is valid until the step ends, and the caller may walk it from any point to
// be fair.
func (ss *Sessions) Active() []*Session {
	ss.tidy()
	return ss.active
}

// tidy leaves those that are held out of Active.
func (ss *Sessions) tidy() {
	if ss.untidy {
		ss.keep(func(s *Session) bool { return s.look == awake })
	}
}

// All calls f with every session, in no order.
func (ss *Sessions) All(f func(*Session)) {
	for _, s := range ss.byID {
		f(s)
	}
}

// Wake makes a sleeping session active. One that is held is not woken, and one of no
// set or of another is left alone.
func (ss *Sessions) Wake(s *Session) {
	if s.set != ss || ss.stopped {
		return
	}
	s.idle = 0
	if s.look == asleep {
		ss.enlist(s)
	}
}

// Hold stops looking at a session without telling its client to ring: the core
// has reached a limit and wants no more of it until Release.
func (ss *Sessions) Hold(s *Session) {
	if s.set == ss {
		s.look = held
		ss.untidy = true
	}
}

// Release ends Hold: what has come meanwhile is looked for.
func (ss *Sessions) Release(s *Session) {
	if s.set == ss && s.look == held && !ss.stopped {
		ss.enlist(s)
	}
}

// Held tells whether the core holds the session.
func (s *Session) Held() bool { return s.look == held }

// Stop holds all sessions, and those that come, for good: for a core that takes
// nothing any more and leaves the rest to a successor.
func (ss *Sessions) Stop() {
	ss.stopped = true
	ss.All(ss.Hold)
}

func (ss *Sessions) enlist(s *Session) {
	s.look, s.idle = awake, 0
	s.announceAwake()
	if !s.listed {
		s.listed = true
		ss.active = append(ss.active, s)
	}
}

// Cool puts to sleep every active session that has been idle for longer than
// budget ticks: it announces sleep, looks again, and leaves the session out of
// Active if there is nothing. It returns the number still active.
func (ss *Sessions) Cool(now, budget uint64) int {
	ss.keep(func(s *Session) bool { return s.look == awake && !s.cool(now, budget) })
	return len(ss.active)
}

// keep leaves the others out of Active.
func (ss *Sessions) keep(which func(*Session) bool) {
	ss.untidy = false
	ss.active = slices.DeleteFunc(ss.active, func(s *Session) bool {
		s.listed = which(s)
		return !s.listed
	})
}

// cool tells whether an active session has gone to sleep.
func (s *Session) cool(now, budget uint64) bool {
	if activity := s.activity(); activity != s.seen {
		s.seen = activity
		s.idle = 0
		return false
	}
	if s.idle == 0 {
		s.idle = now
	}
	if now-s.idle < budget && s.vain == 0 {
		return false // who rings for nothing is not waited for
	}
	s.announceSleep()
	if s.pending() {
		s.announceAwake()
		s.idle = 0
		return false
	}
	s.look = asleep
	switch {
	case s.activity() != s.rung:
		s.vain = 0
	case s.heard: // and not looked at for another reason, such as a reply
		s.vain++
	}
	s.heard = false
	return true
}

// Ring wakes a session because its doorbell was rung, and tells whether it may be rung
// again soon: one that has rung vainMax times in a row and then wanted nothing may not.
func (ss *Sessions) Ring(s *Session) (again bool) {
	s.rung, s.heard = s.activity(), true
	ss.Wake(s)
	return s.vain < vainMax
}

// vainMax is how often in a row a session may ring for nothing. It happens to clients
// that mean well, when the server has found by itself what they ring for.
const vainMax = 16

// WakeClients ends a step: it enters the kernel for every session whose client must
// be woken. Who was held in the step, and is released, is served after the others.
func (ss *Sessions) WakeClients() {
	ss.tidy()
	for i, s := range ss.ringing {
		s.WakeClient()
		ss.ringing[i] = nil
	}
	ss.ringing = ss.ringing[:0]
}
