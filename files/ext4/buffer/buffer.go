package buffer

import (
	"sync"
	"sync/atomic"
)

// Buffer is one block in memory. It is obtained pinned from Get, GetNew or
// Peek; each of them is paired with one Release.
type Buffer struct {
	// Data is the block's content, one block long. The slice itself never
	// changes while the buffer is pinned. Who may read or write the bytes is
	// decided by the file system's locks.
	Data []byte

	// Mu and Owner belong to the journal: its record of which transactions
	// this buffer is part of, and the lock that guards the record.
	Mu    sync.Mutex
	Owner any

	cache *Cache
	block uint64

	pins     atomic.Int32
	flags    atomic.Uint32
	verified atomic.Uint64 // key of the Verifier that accepted the content; 0 none
	load     sync.Mutex    // held while the content is being read
	loadErr  error         // guarded by load
	slot     int           // index in the shard's clock; guarded by the shard
}

const (
	flagValid      = 1 << iota // Data is the content of the block
	flagDirty                  // Data is newer than the device; must not be evicted
	flagReferenced             // used since the clock's hand last passed
	flagGone                   // no longer in the cache: loading failed, or forgotten
)

// Block returns the number of the block on the volume.
func (b *Buffer) Block() uint64 { return b.block }

// Pin adds a pin to a buffer that the caller has pinned already.
func (b *Buffer) Pin() { b.pins.Add(1) }

// Release drops one pin. Data must not be used afterwards.
func (b *Buffer) Release() {
	if b.pins.Add(-1) < 0 {
		panic("buffer: released more often than pinned")
	}
}

// Dirty reports whether the content is newer than the device's.
func (b *Buffer) Dirty() bool { return b.flags.Load()&flagDirty != 0 }

// SetDirty keeps the buffer in the cache until SetClean or WriteBack. The
// caller has pinned it. File systems with a journal do not call this: the
// journal does.
func (b *Buffer) SetDirty() {
	if b.flags.Or(flagDirty)&flagDirty == 0 {
		b.cache.dirty.Add(1)
	}
}

// SetClean says that the device has the content, or that it no longer matters.
func (b *Buffer) SetClean() {
	if b.flags.And(^uint32(flagDirty))&flagDirty != 0 {
		b.cache.dirty.Add(-1)
	}
}

// VerifiedAs reports whether the content was accepted under this key.
func (b *Buffer) VerifiedAs(key uint64) bool { return key != 0 && b.verified.Load() == key }

// SetVerified records that the content is a well-formed structure of the kind
// named by key, because it was checked or because the caller just made it.
func (b *Buffer) SetVerified(key uint64) { b.verified.Store(key) }
