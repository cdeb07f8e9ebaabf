package ipc

import (
	"fmt"
	"math/bits"

	"github.com/quintet-os/quintet/internal/unix"
)

// Requester is the client's side of one session for a step machine, which is a server
// of its own clients and a client of another server: it has no goroutines, never blocks,
// and sleeps where its owner's loop does, on an eventfd (see Loop.Await). It belongs to
// one goroutine.
//
// It can die at any step and have a successor, as a server can: a successor is made with
// the same segments, and Attach finds what is in flight. See NewRequester for what the
// two of them must not do.
type Requester struct {
	g            Geometry
	mine, theirs memory
	doorbell     int
	bell         int

	words  int
	valid  []uint64 // bits that stand for slots
	parity []uint64 // the submit bits
	flying []uint64 // submitted, and the reply not yet polled
	over   []uint64 // subset of flying: replies seen, still to be returned by Poll
	seq    []uint64 // of the last request, by slot
	rung   uint64   // sleep epoch of the server for which the doorbell was rung
	err    *SessionError
}

// RequesterConfig describes one session to its requester.
type RequesterConfig struct {
	Geometry Geometry // without rings
	// Client is the client's segment, mapped for writing and formatted; Server is the
	// server's, mapped read-only.
	Client, Server []byte
	// Doorbell is the eventfd that wakes the server; Bell the one that the server rings,
	// as SessionConfig.Bell says. The Requester closes neither.
	Doorbell, Bell int
}

// NewRequester prepares the client's side without touching the state in the segments,
// so that a standby can do it while another serves. Errors are ErrGeometry and
// ErrVersion.
//
// Only one process may have attached at a time: the next calls Attach when the kernel
// has reported the end of the last. The client segment outlives them, so it is not
// sealed to one writer, and the server's side must not trust that it is.
func NewRequester(cfg RequesterConfig) (*Requester, error) {
	g := cfg.Geometry
	if err := checkSegment(cfg.Client, g, g.ClientBytes()); err != nil {
		return nil, fmt.Errorf("own segment: %w", err)
	}
	if err := checkSegment(cfg.Server, g, g.ServerBytes()); err != nil {
		return nil, fmt.Errorf("server segment: %w", err)
	}
	if g.RingsIn+g.RingsOut > 0 {
		return nil, fmt.Errorf("%w: a requester has no rings", ErrGeometry)
	}
	n := g.bitWords()
	masks := make([]uint64, 4*n)
	r := &Requester{g: g, mine: newMemory(cfg.Client), theirs: newMemory(cfg.Server), doorbell: cfg.Doorbell, bell: cfg.Bell,
		words: n, valid: masks[:n], parity: masks[n : 2*n], flying: masks[2*n : 3*n], over: masks[3*n:], seq: make([]uint64, g.Slots)}
	for slot := range g.Slots {
		r.valid[slot>>6] |= 1 << (slot & 63)
	}
	for _, m := range []memory{r.mine, r.theirs} {
		if err := checkHeader(m); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Attach takes the session over, a fresh one or what a predecessor has left: requests
// that it had published are in flight, whether or not their bits were toggled, and those
// whose replies have come are not. The bits are stored, never toggled: the predecessor
// may have died between the two. Then the server is rung, which the predecessor may have
// owed. An impossible sequence number ends the session, see Err.
func (r *Requester) Attach() {
	for slot := range r.g.Slots {
		w, bit := slot>>6, uint64(1)<<(slot&63)
		asked := r.mine.load(r.g.record(slot))
		done := r.theirs.load(r.g.record(slot))
		r.seq[slot] = asked
		r.parity[w] |= (asked & 1) << (slot & 63)
		switch asked {
		case done:
		case done + 1:
			r.flying[w] |= bit
		default:
			r.err = &SessionError{Reason: ReasonSequence, Detail: fmt.Sprintf("slot %d has reply %d to request %d", slot, done, asked)}
			return
		}
	}
	for w := range r.words {
		r.mine.announce(offSubmitBits+w*8, r.parity[w])
	}
	r.Wake()
	r.ringIfAsleep()
}

// Submit starts a request; false if no slot is free, or the session has ended: Poll and
// Err tell. The slot is the request's name until Poll has returned it.
func (r *Requester) Submit(words *Words) (slot int, ok bool) {
	if r.Err() != nil {
		return 0, false
	}
	for w := range r.words {
		free := r.valid[w] &^ r.flying[w]
		if free == 0 {
			continue
		}
		bit := free & -free
		slot = w<<6 + bits.TrailingZeros64(free)
		r.seq[slot]++
		r.flying[w] |= bit
		r.parity[w] ^= bit
		off := r.g.record(slot)
		r.mine.putWords(off, words)
		r.mine.publish(off, r.seq[slot])
		r.mine.toggle(offSubmitBits, slot, r.seq[slot])
		r.ringIfAsleep()
		return slot, true
	}
	return 0, false
}

// ringIfAsleep rings the doorbell once for each time the server announces sleep. The
// caller has put a full fence between its publication and this look.
func (r *Requester) ringIfAsleep() {
	if epoch := r.theirs.load(offSleepEpoch); epoch&1 != 0 && r.rung != epoch {
		r.rung = epoch
		_ = unix.Ring(r.doorbell) // only a closed descriptor can fail, and then nobody listens
	}
}

// Poll returns a reply that has come, and frees its slot; false if there is none. Bits
// are hints, the sequence number is the truth.
func (r *Requester) Poll(reply *Words) (slot int, ok bool) {
	for fresh := false; ; fresh = true {
		for w := range r.words {
			for r.over[w] != 0 {
				slot = w<<6 + bits.TrailingZeros64(r.over[w])
				r.over[w] &= r.over[w] - 1
				off := r.g.record(slot)
				if r.theirs.load(off) != r.seq[slot] {
					continue
				}
				r.theirs.getWords(off, reply)
				r.flying[w] &^= 1 << (slot & 63)
				return slot, true
			}
		}
		if fresh || !r.look() {
			return 0, false
		}
	}
}

// look compares all bits once.
func (r *Requester) look() (any bool) {
	for w := range r.words {
		if r.flying[w] == 0 {
			continue
		}
		r.over[w] = r.flying[w] &^ (r.parity[w] ^ r.theirs.load(offDoneBits+w*8))
		any = any || r.over[w] != 0
	}
	return any
}

// answered tells whether Poll would return something.
func (r *Requester) answered() bool {
	for w := range r.words {
		over := r.flying[w] &^ (r.parity[w] ^ r.theirs.load(offDoneBits+w*8))
		for ; over != 0; over &= over - 1 {
			slot := w<<6 + bits.TrailingZeros64(over)
			if r.theirs.load(r.g.record(slot)) == r.seq[slot] {
				return true
			}
		}
	}
	return false
}

// InFlight is the number of requests submitted and not polled.
func (r *Requester) InFlight() (n int) {
	for _, m := range r.flying {
		n += bits.OnesCount64(m)
	}
	return n
}

// Flying tells whether slot has a request in flight, and which: for a successor, which
// has not submitted it.
func (r *Requester) Flying(slot int) (request Words, flying bool) {
	if r.flying[slot>>6]&(1<<(slot&63)) == 0 {
		return Words{}, false
	}
	r.mine.getWords(r.g.record(slot), &request)
	return request, true
}

// Err returns nil while the session is open, and then a *SessionError. What is in flight
// has no reply then.
func (r *Requester) Err() error {
	if r.err == nil {
		if state := r.theirs.load(offState); state != stateOpen {
			r.err = &SessionError{Reason: Reason(uint32(state))}
		}
	}
	if r.err == nil {
		return nil
	}
	return r.err
}

// Sleep has the server ring the bell for the next reply, and takes the last look: false
// if there is one already, or if the session has ended and that is news. Loop calls it
// for those that it awaits.
func (r *Requester) Sleep() bool {
	r.mine.announce(offClientSleep, r.theirs.load(offBell)&0xffffffff+1)
	known := r.err != nil
	return !r.answered() && (known || r.Err() == nil)
}

// Wake takes back what Sleep has announced.
func (r *Requester) Wake() { r.mine.announce(offClientSleep, 0) }

// End lets go of the segments, which may be unmapped then: nothing that is done with the
// requester afterwards reaches them. It tells the server nothing; the supervisor does.
func (r *Requester) End() {
	if r.err == nil {
		r.err = &SessionError{Reason: ReasonRevoked, Detail: "its requester has let go of it"}
	}
	r.mine, r.theirs = memory{}, memory{}
	clear(r.flying)
	clear(r.over)
}
