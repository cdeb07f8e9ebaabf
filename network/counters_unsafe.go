package network

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

const (
	counterWords = 32 // of a row, 6 and one for each reason of a drop
	// CountersBytes is the size of a table of counters: a row for each port.
	CountersBytes = PortsMax * counterWords * 8
)

// CounterTable is memory that the supervisor keeps for a network server: the
// counters of each port over all incarnations of the server. The active server
// writes it; every word is written and read atomically.
type CounterTable struct {
	rows *[PortsMax][counterWords]atomic.Uint64
}

// ViewCounters returns the table in a mapping, which must be page-aligned.
func ViewCounters(mem []byte) (CounterTable, error) {
	if len(mem) < CountersBytes {
		return CounterTable{}, &Error{Kind: KindGeometry, Detail: fmt.Sprintf("a table of counters of %d bytes, need %d", len(mem), CountersBytes)}
	}
	return CounterTable{(*[PortsMax][counterWords]atomic.Uint64)(unsafe.Pointer(unsafe.SliceData(mem)))}, nil
}

// words are the fields of c in the order of a row.
func (c *Counters) words() []*uint64 {
	w := []*uint64{&c.Sent, &c.SentBytes, &c.Received, &c.ReceivedBytes, &c.Held, &c.LearnRefused}
	for i := range c.Drops {
		w = append(w, &c.Drops[i])
	}
	return w
}

// Add adds to a row what has been counted since before.
func (t CounterTable) Add(row int, before, now Counters) {
	old, words := before.words(), now.words()
	for i, w := range words {
		if *w != *old[i] {
			t.rows[row][i].Add(*w - *old[i])
		}
	}
}

// Load returns a row.
func (t CounterTable) Load(row int) Counters {
	var c Counters
	for i, w := range c.words() {
		*w = t.rows[row][i].Load()
	}
	return c
}

// Clear makes a row ready for another port.
func (t CounterTable) Clear(row int) {
	for i := range t.rows[row] {
		t.rows[row][i].Store(0)
	}
}
