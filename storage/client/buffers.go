package client

import (
	"context"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"
)

// bufferUnit is the unit of allocation in bytes, and the alignment of buffers.
const bufferUnit = 4096

// Buffers hands out pieces of one granted region. The region bounds what is
// handed out; who finds no room waits, first come first served. It may be used
// from any number of goroutines.
type Buffers struct {
	region int
	mem    []byte

	mu    sync.Mutex // a leaf
	used  []uint64   // one bit a unit
	queue []*bufferWait
	err   error // the session's end
}

type bufferWait struct {
	units int
	first int           // when granted; -1 when the pool has failed
	ready chan struct{} // closed when granted
}

// Buffer is a piece of granted memory.
type Buffer struct {
	// Mem is the memory. While an operation on it is in flight it is the
	// server's: it must be neither read nor written.
	Mem []byte

	pool         *Buffers
	first, units int
	users        atomic.Int32 // its owner, and operations in flight
}

// NewBuffers returns a pool over mem, the memory granted as region, which must
// be page-aligned and stay mapped as long as anything uses the pool.
func NewBuffers(region int, mem []byte) *Buffers {
	units := len(mem) / bufferUnit
	b := &Buffers{region: region, mem: mem, used: make([]uint64, (units+63)/64)}
	for i := units; i < len(b.used)*64; i++ {
		b.used[i/64] |= 1 << (i % 64)
	}
	return b
}

// Bytes is the size of the pool.
func (b *Buffers) Bytes() int { return len(b.mem) &^ (bufferUnit - 1) }

// Get returns a buffer of n bytes, its contents undefined, and waits for room
// until ctx ends. It fails at once when n is not 1 to Bytes, and with the error of
// ipc when the session ends.
func (b *Buffers) Get(ctx context.Context, n int) (*Buffer, error) {
	if n < 1 || n > b.Bytes() {
		return nil, fmt.Errorf("storage: a buffer of %d bytes: the pool has %d", n, b.Bytes())
	}
	units := (n + bufferUnit - 1) / bufferUnit
	b.mu.Lock()
	if b.err != nil {
		defer b.mu.Unlock()
		return nil, b.err
	}
	if len(b.queue) == 0 {
		if first, ok := b.take(units); ok {
			b.mu.Unlock()
			return b.buffer(first, units, n), nil
		}
	}
	w := &bufferWait{units: units, ready: make(chan struct{})}
	b.queue = append(b.queue, w)
	b.mu.Unlock()
	select {
	case <-w.ready:
		if w.first < 0 {
			return nil, b.err // written before ready was closed
		}
		return b.buffer(w.first, units, n), nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-w.ready:
		if w.first >= 0 {
			b.give(w.first, units)
		}
	default:
		for i, other := range b.queue {
			if other == w {
				b.queue = append(b.queue[:i:i], b.queue[i+1:]...)
			}
		}
	}
	b.serve()
	return nil, fmt.Errorf("storage: wait for a buffer of %d bytes in a pool of %d: %w", n, b.Bytes(), ctx.Err())
}

// try is Get that does not wait: nil when there is no room.
func (b *Buffers) try(n int) *Buffer {
	units := (n + bufferUnit - 1) / bufferUnit
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) > 0 || b.err != nil {
		return nil
	}
	if first, ok := b.take(units); ok {
		return b.buffer(first, units, n)
	}
	return nil
}

func (b *Buffers) buffer(first, units, n int) *Buffer {
	at := first * bufferUnit
	buffer := &Buffer{Mem: b.mem[at : at+n : at+units*bufferUnit], pool: b, first: first, units: units}
	buffer.users.Store(1)
	return buffer
}

// Release gives the buffer back; it must not be used afterwards. The memory is
// handed out again when operations still in flight on it have ended.
func (b *Buffer) Release() {
	if b.users.Add(-1) > 0 {
		return
	}
	b.pool.mu.Lock()
	defer b.pool.mu.Unlock()
	b.pool.give(b.first, b.units)
	b.pool.serve()
}

// Fail ends the pool, as the session's end does: who waits for a buffer, and who
// asks later, gets err. Buffers handed out stay valid.
func (b *Buffers) Fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return
	}
	b.err = err
	for _, w := range b.queue {
		w.first = -1
		close(w.ready)
	}
	b.queue = nil
}

// serve grants what there is room for, in the order of asking.
func (b *Buffers) serve() {
	for len(b.queue) > 0 {
		first, ok := b.take(b.queue[0].units)
		if !ok {
			return
		}
		b.queue[0].first = first
		close(b.queue[0].ready)
		b.queue = b.queue[1:]
	}
}

// take finds the first run of free units.
func (b *Buffers) take(units int) (first int, ok bool) {
	run := 0
	for i := 0; i < len(b.used)*64; i++ {
		word := b.used[i/64]
		if i%64 == 0 && word == ^uint64(0) {
			run = 0
			i += 63
			continue
		}
		if word>>(i%64)&1 != 0 {
			run = 0
			i += bits.TrailingZeros64(^(word >> (i % 64))) - 1
			continue
		}
		if run++; run == units {
			first = i + 1 - units
			for u := first; u <= i; u++ {
				b.used[u/64] |= 1 << (u % 64)
			}
			return first, true
		}
	}
	return 0, false
}

func (b *Buffers) give(first, units int) {
	for u := first; u < first+units; u++ {
		b.used[u/64] &^= 1 << (u % 64)
	}
}
