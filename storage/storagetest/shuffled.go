package storagetest

import (
	"math/rand/v2"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/storage"
)

// delayBits bounds the delay of a completion to 1<<delayBits calls of Reap.
const delayBits = 14

// Shuffled is a device that executes operations in any order, and tells of some
// of them much later. So a death finds many that were executed and not answered,
// which a device in memory would otherwise never show.
type Shuffled struct {
	storage.Device
	depth    int
	random   *rand.Rand
	event    int
	inflight int
	queue    []storage.Operation // not yet executed
	ended    []ended
}

// ended is an operation executed, and not yet told of.
type ended struct {
	completion storage.Completion
	delay      int // calls of Reap
}

// Shuffle wraps a device that does all its work in Reap, as device.Memory does.
func Shuffle(d storage.Device, depth int, random *rand.Rand) (*Shuffled, error) {
	event, err := unix.CreateEventfd()
	return &Shuffled{Device: d, depth: depth, random: random, event: event}, err
}

// Submit queues an operation.
func (s *Shuffled) Submit(op *storage.Operation) bool {
	if s.inflight == s.depth {
		return false
	}
	s.inflight++
	s.queue = append(s.queue, *op)
	return true
}

// Reap executes what is queued, and tells of what was executed long enough ago.
func (s *Shuffled) Reap(done []storage.Completion) int {
	s.random.Shuffle(len(s.queue), func(i, j int) { s.queue[i], s.queue[j] = s.queue[j], s.queue[i] })
	for len(s.queue) > 0 && s.Device.Submit(&s.queue[0]) {
		s.queue = s.queue[1:]
	}
	for first := true; first || s.Device.Busy(); first = false {
		for _, c := range done[:s.Device.Reap(done)] {
			s.ended = append(s.ended, ended{c, s.random.IntN(1 << s.random.IntN(delayBits+1))})
		}
	}
	n, kept := 0, s.ended[:0]
	for _, e := range s.ended {
		if e.delay--; e.delay < 0 && n < len(done) {
			done[n] = e.completion
			n++
		} else {
			kept = append(kept, e)
		}
	}
	s.ended = kept
	if s.inflight -= n; s.inflight > 0 {
		_ = unix.Ring(s.event) // never full
	}
	return n
}

// Busy returns false: Wakeup is rung.
func (s *Shuffled) Busy() bool { return false }

// Wakeup is rung while something is in flight.
func (s *Shuffled) Wakeup() int { return s.event }

// Close closes the device behind it.
func (s *Shuffled) Close() error {
	_ = unix.Close(s.event)
	return s.Device.Close()
}
