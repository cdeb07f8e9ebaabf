package ipc

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// Descriptor is one entry of a ring. Its meaning belongs to the protocol above;
// usually a place in a region, a length and flags.
type Descriptor [4]uint64

var errRingIndex = errors.New("ring index out of order")

// Producer is the filling end of a ring: single producer, single consumer. The
// descriptors and the tail lie in the producer's segment, the head in the
// consumer's. It belongs to one goroutine.
type Producer struct {
	mine, theirs        memory
	entries             int
	tailAt, headAt, buf int    // offsets
	tail                uint64 // including what is not yet published
	published, head     uint64
	wants               atomic.Uint64 // head for which the ring was full, plus one; 0: there was room
	err                 error
	rouse               func()      // rings the other side if it sleeps
	broke               func(error) // told of err; may be nil
}

// Consumer is the emptying end of a ring. It belongs to one goroutine.
type Consumer struct {
	mine, theirs        memory
	entries             int
	tailAt, headAt, buf int
	head                uint64 // including what is not yet committed
	committed, tail     uint64
	paused              bool
	err                 error
	rouse               func()
	broke               func(error)
}

// attach continues from the indices in shared memory: what was pushed but not
// published never happened, and what was not committed is consumed again.
func (p *Producer) attach() {
	p.tail = p.mine.load(p.tailAt)
	p.published = p.tail
	p.head = p.tail - uint64(p.entries) // assume full until Free looks
	p.refresh()
}

func (p *Producer) refresh() {
	head := p.theirs.load(p.headAt)
	if head-p.head > p.published-p.head {
		p.err = fmt.Errorf("%w: head moved from %d to %d, tail is %d", errRingIndex, p.head, head, p.published)
		if p.broke != nil {
			p.broke(p.err)
		}
		return
	}
	p.head = head
}

// Free is the number of descriptors that can be pushed. Having returned 0, it
// has published what had been pushed, and the consumer rings this side when
// there is room again.
func (p *Producer) Free() int {
	free := p.room()
	if free == 0 && p.err == nil {
		// Here a wake-up could be lost: the consumer rings for room in a ring that it
		// sees to be full, so all of it must be published, and the wish be known to
		// whoever waits on this side, before the last look.
		p.Publish()
		p.wants.Store(p.head + 1)
		p.refresh()
		free = p.room()
	}
	if free > 0 && p.wants.Load() != 0 {
		p.wants.Store(0)
	}
	return free
}

func (p *Producer) room() int {
	if p.err != nil {
		return 0
	}
	if free := p.entries - int(p.tail-p.head); free > 0 {
		return free
	}
	p.refresh()
	if p.err != nil {
		return 0
	}
	return p.entries - int(p.tail-p.head)
}

// Taken tells whether the consumer has given back all that was pushed, or never will.
func (p *Producer) Taken() bool {
	p.refresh()
	return p.err != nil || p.head == p.tail
}

// gained tells whether there is room in a ring that was full when its owner last
// looked. It may be called from any goroutine.
func (p *Producer) gained() bool {
	wants := p.wants.Load()
	return wants != 0 && p.theirs.load(p.headAt) != wants-1
}

// Push adds d behind the last one and returns false if the ring is full. The
// consumer sees it after Publish.
func (p *Producer) Push(d *Descriptor) bool {
	if p.Free() == 0 {
		return false
	}
	p.mine.putDescriptor(p.buf+int(p.tail)&(p.entries-1)*ringDescriptorBytes, d)
	p.tail++
	return true
}

// Publish shows all pushed descriptors to the consumer and rings it if it sleeps.
func (p *Producer) Publish() {
	if p.published != p.tail {
		p.published = p.tail
		p.mine.announce(p.tailAt, p.tail)
		p.rouse()
	}
}

// Tail is the number of descriptors ever pushed in this ring, so that the next one
// takes place Tail modulo its entries.
func (p *Producer) Tail() uint64 { return p.tail }

// Published is the number of descriptors ever published in this ring, by whatever
// generation.
func (p *Producer) Published() uint64 { return p.published }

// Err is non-nil when the consumer's index made no sense, or the session has ended.
func (p *Producer) Err() error { return p.err }

// end makes sure that the ring is never reached again.
func (p *Producer) end(err error) {
	p.mine, p.theirs, p.err, p.broke = memory{}, memory{}, err, nil
	p.wants.Store(0)
}

func (c *Consumer) attach() {
	c.head = c.mine.load(c.headAt)
	c.committed = c.head
	c.tail = c.head
	c.refresh()
}

func (c *Consumer) refresh() {
	tail := c.theirs.load(c.tailAt)
	if tail-c.committed > uint64(c.entries) || tail-c.committed < c.tail-c.committed {
		c.err = fmt.Errorf("%w: tail moved from %d to %d, head is %d", errRingIndex, c.tail, tail, c.committed)
		if c.broke != nil {
			c.broke(c.err)
		}
		return
	}
	c.tail = tail
}

// Available is the number of descriptors that can be popped; 0 in a paused ring.
func (c *Consumer) Available() int {
	if c.err != nil || c.paused {
		return 0
	}
	if c.head == c.tail {
		c.refresh()
		if c.err != nil {
			return 0
		}
	}
	return int(c.tail - c.head)
}

// Pop copies the next descriptor and returns false if there is none. Its place
// stays the consumer's until Commit.
func (c *Consumer) Pop(d *Descriptor) bool {
	if c.Available() == 0 {
		return false
	}
	c.theirs.getDescriptor(c.buf+int(c.head)&(c.entries-1)*ringDescriptorBytes, d)
	c.head++
	return true
}

// Commit gives the places of all popped descriptors back; see Release.
func (c *Consumer) Commit() { c.Release(int(c.head - c.committed)) }

// Release gives the places of the n oldest popped descriptors back, and rings the
// producer if it sleeps and the ring was full. It is called after the work on
// them is done, so that a successor finds again what was not finished.
func (c *Consumer) Release(n int) {
	if n == 0 {
		return
	}
	before := c.committed
	c.committed += uint64(n)
	// Here a wake-up could be lost: of the producer's last push and this
	// announcement, each with a full fence behind it, the later one sees the other.
	c.mine.announce(c.headAt, c.committed)
	if c.theirs.load(c.tailAt)-before >= uint64(c.entries) {
		c.rouse()
	}
}

// Released is the number of descriptors ever given back in this ring, by
// whatever generation.
func (c *Consumer) Released() uint64 { return c.committed }

// Err is non-nil when the producer's index made no sense, or the session has ended.
func (c *Consumer) Err() error { return c.err }

// end makes sure that the ring is never reached again.
func (c *Consumer) end(err error) {
	c.mine, c.theirs, c.err, c.broke = memory{}, memory{}, err, nil
}

// Pause takes nothing until Resume: Available is 0 then, and what lies in the ring
// does not keep the session awake. A core that cannot pass on what it would take
// pauses the ring, and resumes it when it can.
func (c *Consumer) Pause() { c.paused = true }

// Resume ends Pause. The session must be one that is looked at: its client does not
// ring for what it has pushed already.
func (c *Consumer) Resume() { c.paused = false }

// Out returns the emptying end of the ring that the client fills.
func (s *Session) Out(ring int) *Consumer { return &s.out[ring] }

// In returns the filling end of the ring that the client empties.
func (s *Session) In(ring int) *Producer { return &s.in[ring] }

func (s *Session) makeRings() {
	s.out = make([]Consumer, s.g.RingsOut)
	for r := range s.out {
		s.out[r] = Consumer{mine: s.server, theirs: s.client, entries: s.g.RingEntries,
			tailAt: s.g.outIndex(r), headAt: s.g.outIndex(r), buf: s.g.outRing(r), rouse: s.ringIfAsleep}
	}
	s.in = make([]Producer, s.g.RingsIn)
	for r := range s.in {
		s.in[r] = Producer{mine: s.server, theirs: s.client, entries: s.g.RingEntries,
			tailAt: s.g.inIndex(r), headAt: s.g.inIndex(r), buf: s.g.inRing(r), rouse: s.ringIfAsleep}
	}
}

func (s *Session) attachRings() {
	for r := range s.out {
		s.out[r].attach()
	}
	for r := range s.in {
		s.in[r].attach()
	}
	s.checkRings()
}

// checkRings fails the session if an index made no sense.
func (s *Session) checkRings() {
	for r := range s.out {
		if err := s.out[r].err; err != nil {
			s.Fail(ReasonRing, fmt.Sprintf("out ring %d: %v", r, err))
		}
	}
	for r := range s.in {
		if err := s.in[r].err; err != nil {
			s.Fail(ReasonRing, fmt.Sprintf("in ring %d: %v", r, err))
		}
	}
}

// ringsPending tells whether a client's ring has descriptors to take, and, once,
// that it has made room in a ring that was full.
func (s *Session) ringsPending() bool {
	for r := range s.out {
		if s.out[r].Available() > 0 {
			return true
		}
	}
	for r := range s.in {
		if in := &s.in[r]; in.gained() {
			in.wants.Store(0)
			return true
		}
	}
	s.checkRings()
	return false
}
