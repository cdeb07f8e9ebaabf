package ipc

import "fmt"

const (
	// SlotsMax is the most slots of a session: their bits fill one cache line.
	SlotsMax = 512
	// RingsMax is the most rings of a session in either direction.
	RingsMax = 16
	// RingEntriesMax is the most descriptors of a ring.
	RingEntriesMax = 1 << 16
	// RegionsMax bounds the regions of one session; their numbers are below it.
	RegionsMax = 64
	// PayloadWords is the number of 64-bit words a record carries.
	PayloadWords = 7
)

// Words is the payload of a request or reply record; with the sequence number
// it fills one cache line.
type Words [PayloadWords]uint64

// Geometry fixes the size of a session. Both sides get it from the supervisor.
type Geometry struct {
	// Slots is the number of requests that can be in flight, 1 to SlotsMax.
	Slots int `json:"slots"`
	// RingsOut rings go from the client to the server, RingsIn the other way;
	// 0 to RingsMax each.
	RingsOut int `json:"rings_out,omitempty"`
	RingsIn  int `json:"rings_in,omitempty"`
	// RingEntries is the number of descriptors of every ring: a power of two up
	// to RingEntriesMax, or 0 without rings.
	RingEntries int `json:"ring_entries,omitempty"`
}

// Check returns an error that names the field out of bounds.
func (g Geometry) Check() error {
	switch {
	case g.Slots < 1 || g.Slots > SlotsMax:
		return fmt.Errorf("%w: %d slots, allowed are 1 to %d", ErrGeometry, g.Slots, SlotsMax)
	case g.RingsOut < 0 || g.RingsOut > RingsMax || g.RingsIn < 0 || g.RingsIn > RingsMax:
		return fmt.Errorf("%w: %d rings out and %d in, allowed are 0 to %d", ErrGeometry, g.RingsOut, g.RingsIn, RingsMax)
	case g.RingsOut+g.RingsIn == 0 && g.RingEntries != 0:
		return fmt.Errorf("%w: %d ring entries without a ring", ErrGeometry, g.RingEntries)
	case g.RingsOut+g.RingsIn > 0 && (g.RingEntries < 1 || g.RingEntries > RingEntriesMax || g.RingEntries&(g.RingEntries-1) != 0):
		return fmt.Errorf("%w: %d ring entries, need a power of two up to %d", ErrGeometry, g.RingEntries, RingEntriesMax)
	}
	return nil
}

// ClientBytes is the size of the client segment, a multiple of the page size.
func (g Geometry) ClientBytes() int {
	return pageRound(g.outRing(g.RingsOut))
}

// ServerBytes is the size of the server segment, a multiple of the page size.
func (g Geometry) ServerBytes() int {
	return pageRound(g.inRing(g.RingsIn))
}

// Layout of both segments, in bytes from the start. Words that different
// events change lie 128 bytes apart, since processors fetch lines in pairs.
const (
	lineBytes           = 64
	pairBytes           = 128
	recordBytes         = 64
	ringDescriptorBytes = 32

	offMagic   = 0
	offVersion = 8
	offPlace   = 1*pairBytes + 8 // processor of this side, plus one; beside the sleep words

	// Client segment.
	offClientSleep = 1 * pairBytes // bell value the client sleeps on, plus one; 0 when awake
	offSubmitBits  = 3 * pairBytes

	// Server segment.
	offSleepEpoch = 1 * pairBytes // odd: the server sleeps on the doorbell
	offBell       = 2 * pairBytes // low 32 bits are the futex the client sleeps on
	offState      = 2*pairBytes + 8
	offGeneration = 2*pairBytes + 16
	offDoneBits   = 3 * pairBytes

	// Both: one line pair for the index of each ring this side advances.
	offRingIndices = 4 * pairBytes
	offRecords     = offRingIndices + 2*RingsMax*pairBytes
)

// Index words: a producer's tail and a consumer's head for ring r.
func (g Geometry) outIndex(r int) int { return offRingIndices + r*pairBytes }
func (g Geometry) inIndex(r int) int  { return offRingIndices + (RingsMax+r)*pairBytes }

func (g Geometry) record(slot int) int { return offRecords + slot*recordBytes }

// attempt is the word of the server segment that counts a slot's attempts.
func (g Geometry) attempt(slot int) int { return g.record(g.Slots) + slot*8 }

func (g Geometry) outRing(r int) int {
	return g.record(g.Slots) + r*g.RingEntries*ringDescriptorBytes
}

func (g Geometry) inRing(r int) int {
	base := (g.attempt(g.Slots) + lineBytes - 1) &^ (lineBytes - 1)
	return base + r*g.RingEntries*ringDescriptorBytes
}

// bitWords is the number of 64-bit words that hold the bits of all slots.
func (g Geometry) bitWords() int { return (g.Slots + 63) / 64 }

func pageRound(n int) int {
	const pageBytes = 4096
	return (n + pageBytes - 1) &^ (pageBytes - 1)
}
