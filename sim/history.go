package sim

import (
	"errors"
	"fmt"
	"math"
)

// errNotAtomic: no order of the operations explains what was seen.
var errNotAtomic = errors.New("not atomic")

// never is the end of an operation that was not answered.
const never = math.MaxInt64

// History is what clients have seen of one register to which no value is written
// twice. It starts with the value 0.
//
// Check decides whether it is atomic (linearizable): for each value, first is
// the earliest end of an operation with that value and last the latest start.
// One value must stand before another if an operation with the one ended before
// an operation with the other began; the history is atomic exactly if no two
// values must each stand before the other (Gibbons and Korach, "Testing shared
// memories", SIAM J. Comput. 26(4), 1997, theorem 3.1).
//
// Zeroing (discard, write-zeroes) writes the value 0 many times over. Each time
// counts as a value of its own that begins with zeroMark. A read of 0 is one of
// those that had not surely been overwritten; if there is more than one, the read
// tells nothing more.
type History struct {
	values map[uint64]*span
	zeroes []uint64 // values that are read as 0
}

// zeroMark is the lowest value that stands for a zeroing; clients write lower ones.
const zeroMark = 1 << 63

type span struct {
	written     int64 // start of the write
	first, last int64
}

// NewHistory returns a history in which 0 was written before time 0.
func NewHistory() *History {
	return &History{values: map[uint64]*span{0: {written: -2, first: -1, last: -2}}, zeroes: []uint64{0}}
}

// WriteBegins records that somebody begins to write v.
func (h *History) WriteBegins(v uint64, at int64) {
	h.values[v] = &span{written: at, first: never, last: at}
	if v >= zeroMark {
		h.zeroes = append(h.zeroes, v)
	}
}

// WriteEnds records that the write of v was acknowledged.
func (h *History) WriteEnds(v uint64, at int64) {
	h.values[v].first = min(h.values[v].first, at)
}

// Read records a read of v and returns an error if nobody had written it.
func (h *History) Read(v uint64, began, ended int64) error {
	if v == 0 {
		zero, candidates := h.zeroOf(began, ended)
		if candidates == 0 {
			return fmt.Errorf("%w: read zeroes between %d and %d, which had been overwritten", errNotAtomic, began, ended)
		}
		if candidates > 1 {
			return nil
		}
		v = zero
	}
	s := h.values[v]
	if s == nil || s.written > ended {
		return fmt.Errorf("read %#x, which nobody has written", v)
	}
	s.first = min(s.first, ended)
	s.last = max(s.last, began)
	return nil
}

// zeroOf returns a zeroing that a read of 0 may have seen, and how many there are.
func (h *History) zeroOf(began, ended int64) (zero uint64, candidates int) {
	for _, z := range h.zeroes {
		if h.values[z].written <= ended && !h.overwritten(h.values[z], began) {
			zero = z
			candidates++
		}
	}
	return zero, candidates
}

// overwritten tells whether a write that came after s was over at time at.
func (h *History) overwritten(s *span, at int64) bool {
	for _, o := range h.values {
		if o.written > s.first && o.first < at {
			return true
		}
	}
	return false
}

// Check returns an error that names two values in impossible order.
func (h *History) Check() error {
	for a, s := range h.values {
		for b, o := range h.values {
			if a < b && s.first < o.last && o.first < s.last {
				return fmt.Errorf("%w: %#x (seen until %d, first sure at %d) and %#x (until %d, sure at %d) each come before the other",
					errNotAtomic, a, s.last, s.first, b, o.last, o.first)
			}
		}
	}
	return nil
}
