// Package scq is Nikolaev's scalable circular queue, as a comparison for the
// benchmarks: a bounded, lock-free queue of many producers and consumers that
// needs only single-width atomics.
//
// Source: R. Nikolaev, "A Scalable, Portable, and Memory-Efficient Lock-Free
// FIFO Queue", DISC 2019, figures 8 (indices) and 3 (data by indirection).
//
// Invariants: a ring holds at most n indices in 2n entries, so that a producer
// always finds a usable entry; an entry's cycle only grows. Lock-free, but not
// wait-free: an operation is bounded only by the progress of others, and a
// thread that stops between taking a ticket and using it costs others a retry.
package scq

import (
	"math/bits"
	"runtime"
	"sync/atomic"
)

const cacheLine = 64

type padded[T any] struct {
	value T
	_     [2 * cacheLine]byte
}

// indices is a queue of the numbers 0..n-1, each at most once inside.
//
// An entry is cycle<<(order+1) | safe<<order | index, where 1<<order is the
// number of entries, and an index of all ones is none.
type indices struct {
	tail      padded[atomic.Uint64]
	head      padded[atomic.Uint64]
	threshold padded[atomic.Int64]
	order     uint
	full      int64
	entries   []atomic.Uint64
}

// newIndices returns a ring for n = 1<<(order-1) indices, holding the first
// filled of them.
func newIndices(order uint, filled int) *indices {
	q := &indices{order: order, entries: make([]atomic.Uint64, 1<<order)}
	size := uint64(1) << order
	q.full = int64(size/2+size) - 1
	for i := range q.entries {
		q.entries[i].Store(q.pack(0, true, q.none()))
	}
	// Tickets start at cycle 1, so that the entries of cycle 0 are free.
	q.head.value.Store(size)
	q.tail.value.Store(size)
	q.threshold.value.Store(-1)
	for i := range filled {
		q.enqueue(uint64(i))
	}
	return q
}

func (q *indices) none() uint64 { return 1<<q.order - 1 }

func (q *indices) pack(cycle uint64, safe bool, index uint64) uint64 {
	entry := cycle<<(q.order+1) | index
	if safe {
		entry |= 1 << q.order
	}
	return entry
}

func (q *indices) cycle(entry uint64) uint64 { return entry >> (q.order + 1) }
func (q *indices) safe(entry uint64) bool    { return entry>>q.order&1 == 1 }
func (q *indices) index(entry uint64) uint64 { return entry & q.none() }

// entry spreads neighbouring tickets over different cache lines.
func (q *indices) entry(ticket uint64) *atomic.Uint64 {
	const perLine = 3 // log2 of the entries in a cache line
	i := ticket & q.none()
	if q.order > perLine {
		i = (i<<perLine | i>>(q.order-perLine)) & q.none()
	}
	return &q.entries[i]
}

func (q *indices) enqueue(index uint64) {
	for {
		ticket := q.tail.value.Add(1) - 1
		cycle := ticket >> q.order
		slot := q.entry(ticket)
		for {
			entry := slot.Load()
			if q.cycle(entry) >= cycle || q.index(entry) != q.none() ||
				!q.safe(entry) && q.head.value.Load() > ticket {
				break // taken, or given up by a consumer: the next ticket
			}
			if !slot.CompareAndSwap(entry, q.pack(cycle, true, index)) {
				continue
			}
			if q.threshold.value.Load() != q.full {
				q.threshold.value.Store(q.full)
			}
			return
		}
	}
}

func (q *indices) dequeue() (index uint64, ok bool) {
	if q.threshold.value.Load() < 0 {
		return 0, false
	}
	for {
		ticket := q.head.value.Add(1) - 1
		cycle := ticket >> q.order
		slot := q.entry(ticket)
		for {
			entry := slot.Load()
			if q.cycle(entry) == cycle {
				slot.Or(q.none())
				return q.index(entry), true
			}
			if q.cycle(entry) > cycle {
				break
			}
			// Keep the slow producer of this ticket from using the entry: by its
			// cycle when it is empty, by the safe bit when it is not.
			replacement := q.pack(q.cycle(entry), false, q.index(entry))
			if q.index(entry) == q.none() {
				replacement = q.pack(cycle, q.safe(entry), q.none())
			}
			if slot.CompareAndSwap(entry, replacement) {
				break
			}
		}
		tail := q.tail.value.Load()
		if tail <= ticket+1 {
			q.catchUp(tail, ticket+1)
			q.threshold.value.Add(-1)
			return 0, false
		}
		if q.threshold.value.Add(-1) < 0 {
			return 0, false
		}
	}
}

// catchUp moves the tail to the head after consumers have overtaken producers.
func (q *indices) catchUp(tail, head uint64) {
	for !q.tail.value.CompareAndSwap(tail, head) {
		head = q.head.value.Load()
		tail = q.tail.value.Load()
		if tail >= head {
			return
		}
	}
}

// Queue is a bounded queue of values. All methods are safe for concurrent use.
type Queue[T any] struct {
	free, used *indices
	values     []T
}

// New returns a queue for at least capacity values, and at least one for each
// processor, as the algorithm demands.
func New[T any](capacity int) *Queue[T] {
	capacity = max(capacity, runtime.GOMAXPROCS(0), 2)
	order := uint(bits.Len(uint(capacity-1))) + 1
	n := 1 << (order - 1)
	return &Queue[T]{free: newIndices(order, n), used: newIndices(order, 0), values: make([]T, n)}
}

// Enqueue appends a value; it reports false when the queue is full.
func (q *Queue[T]) Enqueue(value T) bool {
	index, ok := q.free.dequeue()
	if !ok {
		return false
	}
	q.values[index] = value
	q.used.enqueue(index)
	return true
}

// Dequeue removes the oldest value; it reports false when there is none.
func (q *Queue[T]) Dequeue() (value T, ok bool) {
	index, ok := q.used.dequeue()
	if !ok {
		return value, false
	}
	value = q.values[index]
	q.free.enqueue(index)
	return value, true
}
