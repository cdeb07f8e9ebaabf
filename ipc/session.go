package ipc

import (
	"fmt"

	"github.com/quintet-os/quintet/internal/unix"
)

// Request is one request as the server has copied it.
type Request struct {
	// Slot is the number to answer to, and Seq its sequence number.
	Slot int
	Seq  uint64
	// Words is the server's own copy: the client can no longer change it.
	Words Words
	// Replayed: the request was in flight when this server took the session over.
	Replayed bool
	// Started: a predecessor had called Execute, so it may have had effects.
	Started bool
	// Attempts counts the deaths of servers while the request was on the CPU,
	// that is between Begin and Park or Reply.
	Attempts int
}

// PoisonAttempts is the number of deaths after which a request should be
// answered with an error instead of being executed again.
const PoisonAttempts = 3

// Attempt word of a slot: sequence number, started bit, on-CPU bit, count.
const (
	attemptCountMask = 0x3f
	attemptOnCPU     = 1 << 6
	attemptStarted   = 1 << 7
	attemptSeqShift  = 8
)

// SessionConfig describes one session to the server.
type SessionConfig struct {
	// ID is the supervisor's number of the session.
	ID       uint64
	Geometry Geometry
	// Client is the client's segment, mapped read-only; Server is the server's,
	// mapped for writing. Both stay mapped until the session is dropped.
	Client, Server []byte
	// Doorbell is the eventfd the client rings when the server sleeps.
	Doorbell int
	// Bell is the eventfd by which a client that is a Requester is woken; 0: it sleeps on
	// the futex in the server's segment. It must be non-blocking for good: whoever could
	// change that could stop the server that rings it. One that is full is not rung.
	Bell int
}

// Session is the server's side of one session. It belongs to one goroutine.
type Session struct {
	ID       uint64
	g        Geometry
	doorbell int
	wake     int // the client's eventfd; 0: it sleeps on the futex

	client, server memory

	words    int      // bit words in use
	valid    []uint64 // bits that stand for slots
	parity   []uint64 // of the last request taken, by slot
	inflight []uint64 // taken and not answered
	replay   []uint64 // in flight at Attach and not yet taken
	started  []uint64 // subset of replay: a predecessor had started
	attempts []uint8  // count, and attemptStarted, of the last request taken, by slot
	taken    []uint64 // sequence number of the last request taken, by slot
	depth    int      // population of inflight
	hot      int      // slot taken last
	served   uint64   // requests taken since Attach

	// Scan of the submit bits: the turn starts at word start, left words are
	// still to be compared, and mask holds what is left of the current one.
	start, at, left int
	mask            uint64

	epoch   uint64 // odd while asleep on the doorbell
	bell    uint64
	ringing bool      // bell moved, futex not yet woken
	pardons bool      // Attach does not blame requests for the last death
	look    look      // whether the set looks at it
	listed  bool      // in the set's list of active sessions, as it may be a while longer
	deaf    bool      // the core takes no requests
	idle    uint64    // ticks since which nothing was found; 0 while busy
	seen    uint64    // activity at the last Cool
	rung    uint64    // activity when its doorbell was heard last
	heard   bool      // it was, since the session slept last
	vain    int       // times in a row that it has rung for nothing
	set     *Sessions // nil: of none, not yet or no more
	token   int32     // of the loop
	place   uint64    // as published

	out []Consumer // rings the client fills
	in  []Producer // rings this side fills

	regions map[int]*Region
	err     *SessionError
}

// Region is payload memory that a client has granted to this server.
type Region struct {
	ID int
	// Mem is the mapping. The client may change it at any time: copy before
	// checking, and never take control information from it.
	Mem []byte
	// Writable: the server may write it. Delegable: the server may pass it on.
	Writable, Delegable bool
}

// NewSession prepares the server's side without touching the state in the
// segments, so that a standby can do it while another server still serves.
// Errors are ErrGeometry.
func NewSession(cfg SessionConfig) (*Session, error) {
	g := cfg.Geometry
	if err := checkSegment(cfg.Client, g, g.ClientBytes()); err != nil {
		return nil, fmt.Errorf("client segment of session %d: %w", cfg.ID, err)
	}
	if err := checkSegment(cfg.Server, g, g.ServerBytes()); err != nil {
		return nil, fmt.Errorf("server segment of session %d: %w", cfg.ID, err)
	}
	n := g.bitWords()
	masks := make([]uint64, 5*n)
	s := &Session{
		ID: cfg.ID, g: g, doorbell: cfg.Doorbell, wake: cfg.Bell,
		client: newMemory(cfg.Client), server: newMemory(cfg.Server),
		words: n, valid: masks[:n], parity: masks[n : 2*n], inflight: masks[2*n : 3*n],
		replay: masks[3*n : 4*n], started: masks[4*n:],
		attempts: make([]uint8, g.Slots), taken: make([]uint64, g.Slots),
		regions: make(map[int]*Region),
	}
	for slot := range g.Slots {
		s.valid[slot>>6] |= 1 << (slot & 63)
	}
	s.makeRings()
	return s, nil
}

// Attach takes the session over: it bumps the generation, finds what is in
// flight, restores the done bits and rings the client once. The caller must have
// made sure that no other server still writes the segment, nor any device on
// its behalf. A client segment of another version or with impossible sequence
// numbers fails the session, see Err, and is no error of Attach.
func (s *Session) Attach(generation uint64) {
	s.server.publish(offGeneration, generation)
	s.epoch = (s.server.load(offSleepEpoch) + 1) &^ 1
	s.server.announce(offSleepEpoch, s.epoch)
	s.bell = s.server.load(offBell)
	if state := s.server.load(offState); state != stateOpen {
		s.err = &SessionError{Reason: Reason(uint32(state))}
		s.ring() // the predecessor may have died before it told the client
		return
	}
	if err := checkHeader(s.client); err != nil {
		s.fail(ReasonVersion, err.Error())
		return
	}
	for slot := range s.g.Slots {
		if !s.recover(slot) {
			return
		}
	}
	for w := range s.words {
		s.server.announce(offDoneBits+w*8, s.parity[w])
	}
	s.attachRings()
	s.idle = 0
	s.ring()
}

// Pardon, called before Attach, says that the last server was killed from outside:
// its death is not counted as an attempt of the requests it was executing.
func (s *Session) Pardon() { s.pardons = true }

// recover rebuilds the private state of one slot.
func (s *Session) recover(slot int) bool {
	w, bit := slot>>6, uint64(1)<<(slot&63)
	done := s.server.load(s.g.record(slot))
	asked := s.client.load(s.g.record(slot))
	s.taken[slot] = done
	s.parity[w] |= (done & 1) << (slot & 63)
	switch asked {
	case done:
		return true
	case done + 1:
	default:
		s.fail(ReasonSequence, fmt.Sprintf("slot %d has request %d after reply %d", slot, asked, done))
		return false
	}
	s.replay[w] |= bit
	if word := s.server.load(s.g.attempt(slot)); word>>attemptSeqShift == asked<<attemptSeqShift>>attemptSeqShift {
		s.started[w] |= word >> 7 & 1 << (slot & 63)
		count := word & attemptCountMask
		if word&attemptOnCPU != 0 && count < attemptCountMask && !s.pardons {
			count++
		}
		s.attempts[slot] = uint8(count | word&attemptStarted)
	}
	return true
}

// Begin records that the request of slot is on the CPU. A death from here to Park
// or Reply counts as an attempt of this request.
func (s *Session) Begin(slot int) { s.mark(slot, attemptOnCPU) }

// Execute records, after Begin, that the request of slot is about to have
// effects: a successor will find it Started, however often it is parked.
func (s *Session) Execute(slot int) {
	s.attempts[slot] |= attemptStarted
	s.mark(slot, attemptOnCPU)
}

// Park records that the request of slot waits, for a device or for another
// request: a death is no longer blamed on it.
func (s *Session) Park(slot int) { s.mark(slot, 0) }

func (s *Session) mark(slot int, onCPU uint64) {
	s.server.publish(s.g.attempt(slot), s.taken[slot]<<attemptSeqShift|onCPU|uint64(s.attempts[slot]))
}

// Reply answers the request of slot, which must be in flight, and rings the
// client if it sleeps. The slot and the buffers named in the request are the
// client's again. On a failed session it does nothing.
func (s *Session) Reply(slot int, w *Words) {
	word, bit := slot>>6, uint64(1)<<(slot&63)
	if s.inflight[word]&bit == 0 {
		panic(fmt.Sprintf("ipc: reply to slot %d of session %d, which has no request in flight", slot, s.ID))
	}
	s.inflight[word] &^= bit
	s.depth--
	if s.err != nil {
		return
	}
	if s.look == asleep {
		s.set.Wake(s) // whoever has a reply asks again, and need not ring
	}
	off := s.g.record(slot)
	s.server.putWords(off, w)
	s.server.publish(off, s.taken[slot])
	s.server.toggle(offDoneBits, slot, s.taken[slot])
	s.ringIfAsleep()
}

// ringIfAsleep moves the bell once for each time the client announces sleep.
// The caller has put a full fence between its publication and this look: here a
// wake-up could be lost.
func (s *Session) ringIfAsleep() {
	if s.client.load(offClientSleep) == s.bell&0xffffffff+1 {
		s.ring()
	}
}

func (s *Session) ring() {
	s.bell++
	s.server.announce(offBell, s.bell)
	if !s.ringing {
		s.ringing = true
		if s.set != nil {
			s.set.ringing = append(s.set.ringing, s)
		}
	}
}

// WakeClient enters the kernel to wake the client if its bell has moved since the
// last call. The loop calls it after each step.
func (s *Session) WakeClient() {
	if s.ringing {
		s.ringing = false
		if s.wake != 0 {
			_ = unix.Ring(s.wake) // only a closed descriptor can fail, and then nobody listens
		} else if bell := s.server.word32(offBell); bell != nil {
			unix.FutexWake(bell)
		}
	}
}

// End lets go of the segments, which may be unmapped then. Whatever is done with
// the session afterwards, by whomever, reaches no memory: it has failed with
// ReasonRevoked if it had not before, has no regions, and wakes nobody. A session of a
// set is ended by its removal. End may be called more than once.
func (s *Session) End() {
	if s.set != nil {
		s.set.Remove(s)
		return
	}
	if s.err == nil {
		s.err = &SessionError{Reason: ReasonRevoked, Detail: "it has been removed from the server"}
	}
	s.client, s.server = memory{}, memory{}
	for r := range s.out {
		s.out[r].end(s.err)
	}
	for r := range s.in {
		s.in[r].end(s.err)
	}
	clear(s.regions)
}

// Fail ends the session with a reason that the client will see. Requests in
// flight get no reply; what a device still does for them must be waited for
// before the memory goes.
func (s *Session) Fail(reason Reason, detail string) {
	if s.err == nil {
		s.fail(reason, detail)
	}
}

func (s *Session) fail(reason Reason, detail string) {
	s.err = &SessionError{Reason: reason, Detail: detail}
	s.server.announce(offState, failedBit|uint64(reason))
	s.ring()
}

// Err returns nil while the session is open, and then a *SessionError.
func (s *Session) Err() error {
	if s.err == nil {
		return nil
	}
	return s.err
}

// Geometry returns the sizes of the session.
func (s *Session) Geometry() Geometry { return s.g }

// InFlight is the number of requests taken and not answered.
func (s *Session) InFlight() int { return s.depth }

// activity changes whenever something was taken from the client or given to it.
func (s *Session) activity() uint64 {
	n := s.served
	for r := range s.out {
		n += s.out[r].head
	}
	for r := range s.in {
		n += s.in[r].tail
	}
	return n
}

// Served is the number of requests taken since Attach.
func (s *Session) Served() uint64 { return s.served }

// Region returns the granted region with that id.
func (s *Session) Region(id int) (*Region, bool) {
	r, ok := s.regions[id]
	return r, ok
}

// AddRegion makes granted memory known to the session, unless it has ended.
func (s *Session) AddRegion(r *Region) {
	if s.server != (memory{}) {
		s.regions[r.ID] = r
	}
}

// RemoveRegion forgets a region. Unmapping it is the caller's, after the last I/O.
func (s *Session) RemoveRegion(id int) { delete(s.regions, id) }
