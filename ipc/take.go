package ipc

import (
	"fmt"
	"math/bits"
)

// NextStarted takes the next replayed request that a predecessor had started to
// execute. A server whose requests depend on one another's effects empties it
// on all sessions before it calls Next on any.
func (s *Session) NextStarted() (Request, bool) {
	if s.deaf {
		return Request{}, false
	}
	for w := range s.words {
		if s.started[w] != 0 {
			return s.take(w<<6 + bits.TrailingZeros64(s.started[w])) // or fails the session
		}
	}
	return Request{}, false
}

// hintsMax bounds the slots that one call of Next looks at: each that has nothing new,
// though its bit says so, costs a cache line.
const hintsMax = 16

// Next takes the next new request. A turn looks at the slot used last, then at
// all bits once, from a word that rotates; at its end Next returns false, and
// the following call begins a new turn. It returns false also after hintsMax bits that
// stood for nothing, and the following call goes on there. So every slot is served
// within a turn, whatever the others do, and a client that toggles bits for nothing
// spends its own turns.
func (s *Session) Next() (Request, bool) {
	if s.err != nil || s.deaf {
		return Request{}, false
	}
	if s.left == 0 {
		s.left = s.words
		s.at = s.start
		if s.start++; s.start == s.words {
			s.start = 0
		}
		s.mask = s.news(s.at)
		if r, ok := s.take(s.hot); ok {
			return r, true
		}
	}
	for looks := 0; ; {
		for s.mask != 0 {
			if looks++; looks > hintsMax {
				return Request{}, false // the next call goes on from here
			}
			bit := bits.TrailingZeros64(s.mask)
			s.mask &= s.mask - 1
			if r, ok := s.take(s.at<<6 + bit); ok {
				return r, true
			}
		}
		if s.left--; s.left <= 0 {
			s.left = 0
			return Request{}, false
		}
		if s.at++; s.at == s.words {
			s.at = 0
		}
		s.mask = s.news(s.at)
	}
}

// news are the slots of bit word w that look new: hints, not yet truth. What was
// in flight at Attach is looked at whether or not its bit had been toggled.
func (s *Session) news(w int) uint64 {
	return (s.client.load(offSubmitBits+w*8) ^ s.parity[w] | s.replay[w]) & s.valid[w]
}

// take copies the request of slot if it is new.
func (s *Session) take(slot int) (Request, bool) {
	if s.err != nil {
		return Request{}, false
	}
	off := s.g.record(slot)
	seq := s.client.load(off)
	last := s.taken[slot]
	w, bit := slot>>6, uint64(1)<<(slot&63)
	if seq == last && s.replay[w]&bit == 0 {
		// Nothing, or a request taken by the hot slot whose toggle is on its way.
		return Request{}, false
	}
	// What was in flight at Attach cannot have been taken back since.
	if seq != last+1 || s.inflight[w]&bit != 0 {
		s.fail(ReasonSequence, fmt.Sprintf("slot %d went from request %d to %d", slot, last, seq))
		return Request{}, false
	}
	r := Request{Slot: slot, Seq: seq}
	s.client.getWords(off, &r.Words)
	s.taken[slot] = seq
	s.parity[w] ^= bit
	s.inflight[w] |= bit
	s.depth++
	s.served++
	s.hot = slot
	if s.replay[w]&bit != 0 {
		r.Replayed = true
		r.Started = s.started[w]&bit != 0
		r.Attempts = int(s.attempts[slot] & attemptCountMask)
		s.replay[w] &^= bit
		s.started[w] &^= bit
	} else {
		s.attempts[slot] = 0
	}
	return r, true
}
