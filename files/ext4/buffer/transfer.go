package buffer

import (
	"cmp"
	"slices"
)

// writebackBytes is the size of the buffer that neighbouring blocks are
// gathered in, and so the greatest single write.
const writebackBytes = 256 << 10

// ReadAhead reads up to 256 blocks in as few requests as it can and caches
// them unpinned, skipping those that are cached. It is a hint: errors are not
// reported, since Get will meet them.
func (c *Cache) ReadAhead(block uint64, count int) {
	count = min(count, readaheadBlocksMax)
	var run []*Buffer
	read := func() {
		c.readRun(run)
		for _, b := range run {
			b.load.Unlock()
			b.Release()
		}
		run = run[:0]
	}
	for ; count > 0; block, count = block+1, count-1 {
		b, err := c.lookup(block)
		if err != nil {
			break
		}
		// Whoever holds the lock is reading that block already; waiting for it
		// while holding the locks of others could deadlock.
		if b.flags.Load()&flagValid != 0 || !b.load.TryLock() {
			b.Release()
			read()
			continue
		}
		if b.flags.Load()&flagValid != 0 || b.loadErr != nil {
			b.load.Unlock()
			b.Release()
			read()
			continue
		}
		run = append(run, b)
	}
	read()
}

// readRun fills buffers of adjacent blocks, whose load locks are held.
func (c *Cache) readRun(run []*Buffer) {
	if len(run) == 0 {
		return
	}
	data := make([]byte, len(run)*c.blockSize)
	c.reads.Add(1)
	if _, err := c.device.ReadAt(data, int64(run[0].block)*int64(c.blockSize)); err != nil {
		return
	}
	for i, b := range run {
		copy(b.Data, data[i*c.blockSize:])
		b.flags.Or(flagValid)
	}
}

// WriteBack writes all dirty buffers that no journal owns, in the order of
// their blocks, and flushes the device. It is for volumes without a journal
// and for making a file system; nothing may change the buffers meanwhile.
// Errors: *IOError; what was not written stays dirty.
func (c *Cache) WriteBack() error {
	var dirty []*Buffer
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for _, b := range s.clock {
			if b.Dirty() {
				b.pins.Add(1)
				dirty = append(dirty, b)
			}
		}
		s.mu.Unlock()
	}
	defer func() {
		for _, b := range dirty {
			b.Release()
		}
	}()
	if err := c.Write(dirty); err != nil {
		return err
	}
	for _, b := range dirty {
		b.SetClean()
	}
	return c.Flush()
}

// Write sorts the buffers by block and writes them, neighbours in one request.
// It neither flushes nor changes their state.
func (c *Cache) Write(buffers []*Buffer) error {
	slices.SortFunc(buffers, func(a, b *Buffer) int { return cmp.Compare(a.block, b.block) })
	var staging []byte
	var first uint64
	send := func() error {
		if len(staging) == 0 {
			return nil
		}
		err := c.WriteBlocks(first, staging)
		staging = staging[:0]
		return err
	}
	for _, b := range buffers {
		next := first + uint64(len(staging)/c.blockSize)
		if b.block != next || len(staging)+c.blockSize > writebackBytes {
			if err := send(); err != nil {
				return err
			}
			first = b.block
		}
		staging = append(staging, b.Data...)
	}
	return send()
}

// WriteBlocks writes whole blocks from memory past the cache.
func (c *Cache) WriteBlocks(block uint64, data []byte) error {
	c.writes.Add(1)
	if _, err := c.device.WriteAt(data, int64(block)*int64(c.blockSize)); err != nil {
		return &IOError{Op: "write", Block: block, Err: err}
	}
	return nil
}

// ReadBlocks reads whole blocks into memory past the cache.
func (c *Cache) ReadBlocks(block uint64, data []byte) error {
	c.reads.Add(1)
	if _, err := c.device.ReadAt(data, int64(block)*int64(c.blockSize)); err != nil {
		return &IOError{Op: "read", Block: block, Err: err}
	}
	return nil
}

// Flush makes all completed writes durable.
func (c *Cache) Flush() error {
	if err := c.device.Flush(); err != nil {
		return &IOError{Op: "flush", Err: err}
	}
	return nil
}
