package buffer

import "sync"

// sweepStepsMax bounds how many buffers one insertion looks at to make room.
const sweepStepsMax = 64

// shard is one part of the cache: a hash table, and a clock for eviction.
type shard struct {
	mu    sync.Mutex
	table map[uint64]*Buffer
	clock []*Buffer
	hand  int
	_     [64]byte // the locks of two shards do not share a cache line
}

func (c *Cache) shard(block uint64) *shard {
	// Neighbouring blocks go to different shards; the multiplication keeps
	// strides of a power of two (group by group) from meeting in one.
	return &c.shards[(block*0x9E3779B97F4A7C15)>>59&(cacheShards-1)]
}

// lookup returns the buffer of the block, pinned, with or without content.
func (c *Cache) lookup(block uint64) (*Buffer, error) {
	s := c.shard(block)
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.table[block]; b != nil {
		b.pins.Add(1)
		if b.flags.Load()&flagReferenced == 0 {
			b.flags.Or(flagReferenced)
		}
		return b, nil
	}
	if blocks := c.blocks.Load(); block >= blocks {
		return nil, &RangeError{Block: block, Blocks: blocks}
	}
	b := c.room(s)
	b.block = block
	b.pins.Store(1)
	s.table[block] = b
	return b, nil
}

// room returns an unused buffer that stands in the shard's clock: that of an
// evicted block if the shard is full, a new one if it is not, or if all that
// the hand passes is pinned or dirty.
func (c *Cache) room(s *shard) *Buffer {
	if len(s.clock) >= c.limit {
		if b := s.evict(); b != nil {
			// An earlier insertion may have exceeded the limit: give back.
			if len(s.clock) > c.limit {
				if extra := s.evict(); extra != nil {
					s.remove(extra)
					c.cached.Add(-1)
				}
			}
			return b
		}
	}
	b := &Buffer{cache: c, Data: make([]byte, c.blockSize), slot: len(s.clock)}
	s.clock = append(s.clock, b)
	c.cached.Add(1)
	return b
}

// evict takes the first clean, unpinned buffer that was not used since the hand
// last passed out of the table, and wipes its identity. Nobody can reach it:
// pins are added only under the shard's lock or by those who hold one.
func (s *shard) evict() *Buffer {
	for range min(sweepStepsMax, 2*len(s.clock)) {
		if s.hand >= len(s.clock) {
			s.hand = 0
		}
		b := s.clock[s.hand]
		s.hand++
		if b.pins.Load() != 0 {
			continue
		}
		flags := b.flags.Load()
		if flags&flagDirty != 0 {
			continue
		}
		if flags&flagReferenced != 0 {
			b.flags.And(^uint32(flagReferenced))
			continue
		}
		delete(s.table, b.block)
		b.flags.Store(0)
		b.verified.Store(0)
		return b
	}
	return nil
}

// remove takes a buffer out of the clock.
func (s *shard) remove(b *Buffer) {
	last := len(s.clock) - 1
	s.clock[b.slot] = s.clock[last]
	s.clock[b.slot].slot = b.slot
	s.clock[last] = nil
	s.clock = s.clock[:last]
}

// drop takes a buffer out of the cache for good: its pinners keep the memory,
// nobody else finds it.
func (c *Cache) drop(b *Buffer) {
	s := c.shard(b.block)
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.flags.Or(flagGone)&flagGone != 0 {
		return
	}
	delete(s.table, b.block)
	s.remove(b)
	c.cached.Add(-1)
	b.SetClean()
}

// Drop takes a buffer out of the cache: its block is metadata no longer, and
// the content must not be found again. Whoever has it pinned keeps the memory.
func (c *Cache) Drop(b *Buffer) { c.drop(b) }

// Forget drops the cached content of blocks that have been freed and are not
// part of any transaction, so that it is neither written nor found again.
// Buffers still pinned keep their memory.
func (c *Cache) Forget(block, count uint64) {
	for end := block + count; block < end; block++ {
		s := c.shard(block)
		s.mu.Lock()
		b := s.table[block]
		s.mu.Unlock()
		if b != nil {
			c.drop(b)
		}
	}
}
