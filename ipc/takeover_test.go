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

// TestARequestTakenBackEndsTheSession: a client that puts a sequence number back after
// a takeover, when its server has seen that the request is in flight, does not keep the
// server looking for it.
func TestARequestTakenBackEndsTheSession(t *testing.T) {
	for name, next := range map[string]func(*Session) (Request, bool){"NextStarted": (*Session).NextStarted, "Next": (*Session).Next} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, Geometry{Slots: 70})
			if _, err := p.client.Start(t.Context(), &Words{}); err != nil {
				t.Fatal(err)
			}
			r, ok := p.session.Next()
			if !ok {
				t.Fatal("no request")
			}
			p.session.Begin(r.Slot)
			if name == "NextStarted" {
				p.session.Execute(r.Slot)
			}
			s := p.attach(2)
			p.client.mine.publish(p.g.record(r.Slot), r.Seq-1)
			if r, ok := next(s); ok {
				t.Fatalf("took %+v", r)
			}
			var ended *SessionError
			if !errors.As(s.Err(), &ended) || ended.Reason != ReasonSequence {
				t.Errorf("the session has %v", s.Err())
			}
		})
	}
}
