package ipc

import "math/bits"

// This file is the server's half of the sleep protocol. The client's half is in
// waiter.go; ipc/model checks both.

// announceSleep tells the client to ring the doorbell from now on.
func (s *Session) announceSleep() {
	s.epoch |= 1
	s.server.announce(offSleepEpoch, s.epoch)
}

// announceAwake tells the client that the server looks by itself.
func (s *Session) announceAwake() {
	if s.epoch&1 != 0 {
		s.epoch++
		s.server.announce(offSleepEpoch, s.epoch)
	}
}

// pending is the last look before sleep: is there a request or a descriptor that
// the core would take, if it asked? It looks where Next and Pop look, and ignores what
// they ignore. A toggle whose request was taken by the hot slot does not count, so
// a client that never finishes a toggle cannot keep the server awake.
func (s *Session) pending() bool {
	if s.err != nil {
		return false
	}
	return !s.deaf && s.requestsPending() || s.ringsPending()
}

func (s *Session) requestsPending() bool {
	if s.client.load(s.g.record(s.hot)) != s.taken[s.hot] {
		return true
	}
	for w := range s.words {
		for mask := s.news(w); mask != 0; mask &= mask - 1 {
			slot := w<<6 + bits.TrailingZeros64(mask)
			if s.client.load(s.g.record(slot)) != s.taken[slot] {
				return true
			}
		}
	}
	return false
}
