package ipc

import (
	"errors"
	"testing"
)

// TestSuccessorTellsOfAnEndedSession: a server that ends a session and dies
// before it has moved the bell may leave a client asleep that has to learn of it.
func TestSuccessorTellsOfAnEndedSession(t *testing.T) {
	p := newPair(t, Geometry{Slots: 1})
	p.session.server.announce(offState, failedBit|uint64(ReasonRequest))
	before := p.session.server.load(offBell)
	s := p.attach(2)
	var ended *SessionError
	if !errors.As(s.Err(), &ended) || ended.Reason != ReasonRequest {
		t.Errorf("the successor has %v", s.Err())
	}
	if s.server.load(offBell) == before {
		t.Error("the client was not rung")
	}
}
