package server

import (
	"time"

	"github.com/quintet-os/quintet/storage"
)

const (
	// sharedBytes is what the device of a volume has to do at a time for one session
	// while others use it too, in transfers and in other ranges each: whoever asks for
	// little waits for no more than that of each of them. A range may be longer, alone.
	sharedBytes = 2 * storage.TransferMax
	// sharedFor is how long a volume counts as used after a session has asked for
	// something.
	sharedFor = 100 * time.Millisecond
)

// sharing knows who has used a volume last, and when, and when somebody else had.
type sharing struct {
	last            *session
	lastAt, otherAt time.Duration
}

// note takes down that a session uses the volume.
func (s *sharing) note(by *session, now time.Duration) {
	if s.last != by {
		if s.otherAt = s.lastAt; s.last == nil {
			s.otherAt = now - sharedFor
		}
		s.last = by
	}
	s.lastAt = now
}

// crowds tells whether an operation has to wait because the device has enough to do for
// the session that asks for it, on a volume that others use too.
func (s *sharing) crowds(t *task, now time.Duration) bool {
	others := s.lastAt
	if s.last == t.session {
		others = s.otherAt
	}
	if s.last == nil || now-others >= sharedFor || !t.request.Op.Ranged() {
		return false
	}
	busy := *t.grant.account(&t.request)
	return busy > 0 && busy+t.request.Length > sharedBytes
}
