// Package buffer is the one cache that all metadata blocks of an ext4 volume
// go through: inode tables, bitmaps, group descriptors, directories, extent
// trees, and nothing of file data.
//
// Purpose: a block is in memory once, however many goroutines look at it; the
// memory is bounded by a configured number of bytes; a block is checked once,
// when it is first looked at as a structure of some kind, and not again.
//
// Invariants:
//   - A Buffer's Data belongs to its block for as long as the Buffer is pinned
//     or dirty. Only buffers that are neither are given to other blocks.
//   - Content is valid from the moment Get or GetNew returns it.
//   - A dirty buffer leaves the cache only by being written (WriteBack, or the
//     journal's checkpoint) or by Forget.
//
// The cache may exceed its bound while everything in it is pinned or dirty: a
// Get inside a transaction must never wait for that transaction's own commit.
// What keeps that excess small is the journal, which makes new transactions
// wait while more than half of the cache is dirty (see Pressure).
//
// Concurrency: lookups take one of cacheShards mutexes for some tens of
// nanoseconds and never during I/O; there is no lock over the whole cache. The
// cache does not order access to Data: readers and writers of one block hold a
// lock of the file system (an inode's, a group's).
//
// Lock order: Buffer.load before a shard's lock. Buffer.Mu belongs to the
// journal and is never taken here.
//
// Trust: callers are trusted, the device's content is not; that is what the
// Verifier is for.
package buffer
