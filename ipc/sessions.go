package ipc

import "slices"

// Sessions is the set of sessions that one server core serves. A session is
// active while its client is being looked at in every step; after an idle spell
// it is put to sleep, which costs the others nothing, and its doorbell makes it
// active again. It belongs to the goroutine of the loop.
type Sessions struct {
	byID    map[uint64]*Session
	active  []*Session
	ringing []*Session // clients to wake, in the order of their replies
	beside  bool       // the client of an active session is on this processor
}

// NewSessions returns an empty set.
func NewSessions() *Sessions { return &Sessions{byID: make(map[uint64]*Session)} }

// Add puts a session into the set, active.
func (ss *Sessions) Add(s *Session) {
	ss.byID[s.ID] = s
	s.set = ss
	if s.ringing {
		ss.ringing = append(ss.ringing, s)
	}
	ss.Wake(s)
}

// Remove takes a session out of the set.
func (ss *Sessions) Remove(s *Session) {
	delete(ss.byID, s.ID)
	ss.deactivate(s)
	s.WakeClient()
	s.set = nil
}

// Get returns the session with that id, or nil.
func (ss *Sessions) Get(id uint64) *Session { return ss.byID[id] }

// Len is the number of sessions.
func (ss *Sessions) Len() int { return len(ss.byID) }

// Active are the sessions a step looks at. The slice is valid until the set
// changes, and the caller may walk it from any point to be fair.
func (ss *Sessions) Active() []*Session { return ss.active }

// All calls f with every session, in no order.
func (ss *Sessions) All(f func(*Session)) {
	for _, s := range ss.byID {
		f(s)
	}
}

// Wake makes a session active.
func (ss *Sessions) Wake(s *Session) {
	s.idle = 0
	if s.active || s.held {
		return
	}
	s.active = true
	s.announceAwake()
	ss.active = append(ss.active, s)
}

// Hold stops looking at a session without telling its client to ring: the core
// has reached a limit and wants no more requests until Release.
func (ss *Sessions) Hold(s *Session) {
	s.held = true
	ss.deactivate(s)
}

// Release ends Hold.
func (ss *Sessions) Release(s *Session) {
	if s.held {
		s.held = false
		ss.Wake(s)
	}
}

func (ss *Sessions) deactivate(s *Session) {
	if s.active {
		s.active = false
		ss.active = slices.DeleteFunc(ss.active, func(o *Session) bool { return o == s })
	}
}

// Cool puts to sleep every active session that has been idle for longer than
// budget ticks: it announces sleep, looks again, and leaves the session out of
// Active if there is nothing. It returns the number still active.
func (ss *Sessions) Cool(now, budget uint64) int {
	for i := len(ss.active) - 1; i >= 0; i-- {
		s := ss.active[i]
		if activity := s.activity(); activity != s.seen {
			s.seen = activity
			s.idle = 0
			continue
		}
		if s.idle == 0 {
			s.idle = now
		}
		if now-s.idle < budget {
			continue
		}
		s.announceSleep()
		if s.pending() {
			s.announceAwake()
			s.idle = 0
			continue
		}
		s.active = false
		ss.active = slices.Delete(ss.active, i, i+1)
	}
	return len(ss.active)
}

// WakeClients enters the kernel for every session whose client must be woken.
func (ss *Sessions) WakeClients() {
	for i, s := range ss.ringing {
		s.WakeClient()
		ss.ringing[i] = nil
	}
	ss.ringing = ss.ringing[:0]
}
