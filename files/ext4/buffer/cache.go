package buffer

import (
	"fmt"
	"sync/atomic"
)

const (
	// cacheShards is the number of independent locks and hash tables; a power of two.
	cacheShards = 32
	// cacheBlocksMin is the least number of blocks a cache holds, whatever its
	// configured size: a transaction must be able to hold its own blocks.
	cacheBlocksMin = 8 * cacheShards
	// readaheadBlocksMax bounds one ReadAhead.
	readaheadBlocksMax = 256
)

// Device is what the cache needs of a storage.Volume. Offsets and lengths are
// in bytes and multiples of the cache's block size.
type Device interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Flush() error
}

// Verifier checks the content of a block as a structure of one kind. It may be
// called by several goroutines at once for one block. An error is returned by
// Get unchanged, so it should name the structure and the block.
type Verifier interface {
	Verify(block uint64, data []byte) error
}

// Options configure a Cache.
type Options struct {
	BlockSize int    // bytes of a block: a power of two from 1024 to 65536
	Blocks    uint64 // blocks of the volume; numbers from here on are refused
	Bytes     int64  // bound of the cached content in bytes; raised to 256 blocks if less
	// OnDamage, if not nil, is told each error of a Verifier, on the goroutine that met it,
	// which may hold any lock of its own.
	OnDamage func(error)
}

// Cache holds blocks of one volume.
type Cache struct {
	device    Device
	onDamage  func(error)
	blockSize int
	blocks    atomic.Uint64
	limit     int // blocks per shard
	dirty     atomic.Int64
	cached    atomic.Int64
	reads     atomic.Int64
	writes    atomic.Int64
	shards    [cacheShards]shard
}

// New returns an empty cache over the device. It does no I/O.
func New(device Device, o Options) (*Cache, error) {
	if o.BlockSize < 1024 || o.BlockSize > 65536 || o.BlockSize&(o.BlockSize-1) != 0 {
		return nil, fmt.Errorf("ext4: block size of %d bytes is not a power of two from 1024 to 65536", o.BlockSize)
	}
	c := &Cache{device: device, onDamage: o.OnDamage, blockSize: o.BlockSize}
	c.blocks.Store(o.Blocks)
	c.limit = max(int(o.Bytes/int64(o.BlockSize)), cacheBlocksMin) / cacheShards
	for i := range c.shards {
		c.shards[i].table = make(map[uint64]*Buffer)
	}
	return c, nil
}

// BlockSize returns the size of a block in bytes.
func (c *Cache) BlockSize() int { return c.blockSize }

// Device returns the device under the cache.
func (c *Cache) Device() Device { return c.device }

// Resize sets the number of blocks of the volume.
func (c *Cache) Resize(blocks uint64) { c.blocks.Store(blocks) }

// Get returns the block, pinned, reading it if it is not cached. Unless the
// content was already accepted under key, v checks it first; v may be nil, and
// then nothing is checked. A key names a kind of structure together with
// whatever its check depends on (the inode a directory block belongs to), so
// that a block reached as two different structures is checked as both. Key 0
// means "check each time".
//
// Errors: *IOError, *RangeError, and those of v. One goroutine reads; others
// that ask for the same block wait for it.
func (c *Cache) Get(block, key uint64, v Verifier) (*Buffer, error) {
	b, err := c.lookup(block)
	if err != nil {
		return nil, err
	}
	if b.flags.Load()&flagValid == 0 {
		if err := c.fill(b); err != nil {
			b.Release()
			return nil, err
		}
	}
	if v != nil && !b.VerifiedAs(key) {
		if err := v.Verify(block, b.Data); err != nil {
			if c.onDamage != nil {
				c.onDamage(err)
			}
			b.Release()
			return nil, err
		}
		b.SetVerified(key)
	}
	return b, nil
}

// GetNew returns the block, pinned and all zero, without reading it: for a
// block that has just been allocated. Whatever was cached of it is overwritten.
// The caller passes it to the journal (GetCreate) before changing it.
func (c *Cache) GetNew(block uint64) (*Buffer, error) {
	b, err := c.lookup(block)
	if err != nil {
		return nil, err
	}
	b.load.Lock()
	defer b.load.Unlock()
	if b.loadErr != nil {
		// Another goroutine's read of this block failed meanwhile; the block
		// is about to be overwritten, so the failure does not matter.
		b.Release()
		return c.GetNew(block)
	}
	clear(b.Data)
	b.verified.Store(0)
	b.flags.Or(flagValid)
	return b, nil
}

// Peek returns the block pinned if its content is cached, else nil. It does no I/O.
func (c *Cache) Peek(block uint64) *Buffer {
	s := c.shard(block)
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.table[block]
	if b == nil || b.flags.Load()&flagValid == 0 {
		return nil
	}
	b.pins.Add(1)
	b.flags.Or(flagReferenced)
	return b
}

// fill reads the block of a pinned buffer.
func (c *Cache) fill(b *Buffer) error {
	b.load.Lock()
	defer b.load.Unlock()
	if b.flags.Load()&flagValid != 0 {
		return nil
	}
	if b.loadErr != nil {
		return b.loadErr
	}
	c.reads.Add(1)
	if _, err := c.device.ReadAt(b.Data, int64(b.block)*int64(c.blockSize)); err != nil {
		b.loadErr = &IOError{Op: "read", Block: b.block, Err: err}
		c.drop(b)
		return b.loadErr
	}
	b.flags.Or(flagValid)
	return nil
}

// Stats counts what the cache holds and has done.
type Stats struct {
	Cached, Dirty, Limit int64 // blocks
	Reads, Writes        int64 // device requests
}

// Stats returns the present figures; they are not a consistent snapshot.
func (c *Cache) Stats() Stats {
	return Stats{
		Cached: c.cached.Load(), Dirty: c.dirty.Load(), Limit: int64(c.limit) * cacheShards,
		Reads: c.reads.Load(), Writes: c.writes.Load(),
	}
}

// Pressure reports whether more than half of the cache is dirty, so that new
// transactions should wait for a commit and a checkpoint.
func (c *Cache) Pressure() bool { return c.dirty.Load() > int64(c.limit)*cacheShards/2 }
