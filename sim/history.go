package sim

import (
	"fmt"
	"math"
)

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
type History struct {
	values map[uint64]*span
}

type span struct {
	written     int64 // start of the write
	first, last int64
}

// NewHistory returns a history in which 0 was written before time 0.
func NewHistory() *History {
	return &History{values: map[uint64]*span{0: {written: -2, first: -1, last: -2}}}
}

// WriteBegins records that somebody begins to write v.
func (h *History) WriteBegins(v uint64, at int64) {
	h.values[v] = &span{written: at, first: never, last: at}
}

// WriteEnds records that the write of v was acknowledged.
func (h *History) WriteEnds(v uint64, at int64) {
	h.values[v].first = min(h.values[v].first, at)
}

// Read records a read of v and returns an error if nobody had written it.
func (h *History) Read(v uint64, began, ended int64) error {
	s := h.values[v]
	if s == nil || s.written > ended {
		return fmt.Errorf("read %#x, which nobody has written", v)
	}
	s.first = min(s.first, ended)
	s.last = max(s.last, began)
	return nil
}

// Check returns an error that names two values in impossible order.
func (h *History) Check() error {
	for a, s := range h.values {
		for b, o := range h.values {
			if a < b && s.first < o.last && o.first < s.last {
				return fmt.Errorf("not atomic: %#x (seen until %d, first sure at %d) and %#x (until %d, sure at %d) each come before the other",
					a, s.last, s.first, b, o.last, o.first)
			}
		}
	}
	return nil
}
