package server

import (
	"time"

	"github.com/quintet-os/quintet/storage"
)

const (
	// sharedBytes is what the device of a volume has to do at a time for one session
	// while others use it too: whoever asks for little waits for no more than that of
	// each of them.
	sharedBytes = 2 * storage.TransferMax
	// sharedFor is how long a volume counts as shared after two sessions have used it in
	// turn.
	sharedFor = 100 * time.Millisecond
)

// sharing knows whether several sessions use a volume.
type sharing struct {
	last  *session
	until time.Duration
}

// note takes down that a session uses the volume.
func (s *sharing) note(by *session, now time.Duration) {
	if s.last != nil && s.last != by {
		s.until = now + sharedFor
	}
	s.last = by
}

// crowds tells whether a transfer has to wait because the device has enough to do for
// the session that asks for it, on a volume that others use too.
func (s *sharing) crowds(t *task, now time.Duration) bool {
	return now < s.until && t.request.Op.Transfers() && t.grant.bytes > 0 && t.grant.bytes+t.request.Length > sharedBytes
}
