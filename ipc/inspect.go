package ipc

import (
	"math/bits"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/quintet-os/quintet/internal/clock"
)

// Inspection is a momentary view of a session from the client's side. Its fields
// are read one after the other while the session goes on.
type Inspection struct {
	// Depth is the number of slots, InFlight how many have a request without a
	// reply, and Parked how many callers wait without looking by themselves.
	Depth, InFlight, Parked int
	// Oldest is the age of the oldest request in flight, 0 if there is none.
	Oldest time.Duration
	// Generation counts the servers that have served the session.
	Generation uint64
	// ServerSleeps and ClientSleeps tell who waits in the kernel.
	ServerSleeps, ClientSleeps bool
	// Err is the reason if the session has ended.
	Err error
}

// Inspect returns what the session is doing.
func (c *Client) Inspect() Inspection {
	now := clock.Ticks()
	in := Inspection{
		Depth:        c.g.Slots,
		Parked:       int(c.parked.Load()),
		Generation:   c.theirs.load(offGeneration),
		ServerSleeps: c.serverSleeps(),
		ClientSleeps: c.mine.load(offClientSleep) != 0,
		Err:          c.Err(),
	}
	for w := range c.words {
		for m := c.mine.load(offSubmitBits+w*8) ^ c.theirs.load(offDoneBits+w*8); m != 0; m &= m - 1 {
			slot := w<<6 + bits.TrailingZeros64(m)
			if slot >= c.g.Slots {
				break
			}
			if at := c.g.record(slot); c.mine.load(at) == c.theirs.load(at) {
				continue // answered; the done bit is on its way
			}
			in.InFlight++
			if started := atomic.LoadUint64(&c.calls[slot].started); started < now {
				in.Oldest = max(in.Oldest, clock.ToDuration(now-started))
			}
		}
	}
	runtime.KeepAlive(c)
	return in
}

// SessionInspection is a momentary view of a session from the server's side.
type SessionInspection struct {
	ID              uint64
	Depth, InFlight int
	Served          uint64
	Sleeping, Held  bool
	Err             error
}

// Inspect returns what the session is doing. It is called by the session's owner.
func (s *Session) Inspect() SessionInspection {
	return SessionInspection{ID: s.ID, Depth: s.g.Slots, InFlight: s.depth, Served: s.served,
		Sleeping: s.epoch&1 != 0, Held: s.look == held, Err: s.Err()}
}
