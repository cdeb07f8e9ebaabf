package storagetest

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/quintet-os/quintet/storage"
)

// History records what clients did to one volume and saw of it, and decides
// whether each block behaved as one register: whether all its operations can be
// put into one order that respects real time, such that each read sees the last
// write before it. Acknowledged writes that are lost, old values that come back
// and writes that take effect twice all break that.
//
// Writes carry unique values, which makes the decision exact and cheap: the test
// of zones of P. B. Gibbons and E. Korach, "Testing Shared Memories", SIAM J.
// Comput. 26(4), 1997. Zeroes are not unique: reads of them are checked for what
// could have written them, and for not lying amid another value.
//
// It may be used from any goroutine.
type History struct {
	block int
	time  atomic.Int64
	value atomic.Uint64

	mu     sync.Mutex
	events []event
}

// event is one operation on a range of blocks.
type event struct {
	op         storage.Op
	begin, end int64    // by History.time
	first, n   int64    // blocks
	value      uint64   // what a write wrote
	seen       []uint64 // what a read saw, by block
}

// NewHistory returns an empty history of a volume that reads as zeroes.
func NewHistory(block int) *History { return &History{block: block} }

// Write has write carry out a write of p at off, which it fills with a new value.
func (h *History) Write(p []byte, off int64, write func() error) error {
	value := h.value.Add(1)
	for i := 0; i < len(p); i += 8 {
		binary.NativeEndian.PutUint64(p[i:], value)
	}
	return h.record(event{op: storage.OpWrite, value: value}, off, int64(len(p)), write)
}

// Read has read fill p from off.
func (h *History) Read(p []byte, off int64, read func() error) error {
	e := event{op: storage.OpRead, seen: make([]uint64, len(p)/h.block)}
	return h.record(e, off, int64(len(p)), func() error {
		if err := read(); err != nil {
			return err
		}
		for i := range e.seen {
			block := p[i*h.block : (i+1)*h.block]
			e.seen[i] = binary.NativeEndian.Uint64(block)
			for at := 8; at < len(block); at += 8 {
				if v := binary.NativeEndian.Uint64(block[at:]); v != e.seen[i] {
					return fmt.Errorf("block %d is torn: it holds value %d at its start and %d at byte %d", off/int64(h.block)+int64(i), e.seen[i], v, at)
				}
			}
		}
		return nil
	})
}

// Range has do carry out a write-zeroes or a discard. A discard is taken to
// leave a block as it is, or to zero it.
func (h *History) Range(op storage.Op, off, length int64, do func() error) error {
	return h.record(event{op: op}, off, length, do)
}

func (h *History) record(e event, off, length int64, do func() error) error {
	e.first, e.n = off/int64(h.block), length/int64(h.block)
	e.begin = h.time.Add(1)
	err := do()
	e.end = h.time.Add(1)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
	return err
}

// Len is the number of operations recorded.
func (h *History) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.events)
}

// Check returns an error that names the first block that was no register. Every
// operation recorded must have ended without an error.
func (h *History) Check() error {
	blocks := make(map[int64]*register)
	for i := range h.events {
		e := &h.events[i]
		for b := e.first; b < e.first+e.n; b++ {
			if blocks[b] == nil {
				blocks[b] = &register{clusters: make(map[uint64]*cluster)}
			}
			blocks[b].add(e, b-e.first)
		}
	}
	for b, r := range blocks {
		if err := r.check(); err != nil {
			return fmt.Errorf("block %d: %w", b, err)
		}
	}
	return nil
}
