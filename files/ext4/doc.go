// Package ext4 reads and writes ext4 file systems that the Linux kernel and
// e2fsprogs read and write too.
//
// Purpose: a library over a storage.Volume, independent of any server. It
// names files by inode number; Walk resolves paths. Metadata goes through one
// bounded cache (package buffer); file data goes straight between the volume
// and the caller's memory.
//
// Trust: callers are trusted, the volume is not. Every structure is checked
// when it is first read, its checksum too, and damage is reported as a
// *disk.CorruptError that names the structure and the block. No content of the
// volume makes this package panic or loop without end.
//
// Concurrency: any number of goroutines may use an FS. There is no lock over
// the whole file system on the read path; an operation holds the locks of the
// inodes it works on. Lock order: renameMu; inodes, in the order of their
// numbers; a handle of the journal; then, within it, the lock of an attribute
// block, a quota file and its inode, and each for a moment a group, the superblock, the orphan list, the shard of the inode cache, the
// buffer cache. Whoever holds a handle waits for no inode.
//
// Memory: blocks, inodes and names share one bound, Options.CacheBytes. What is
// in use is kept even beyond it.
//
// Power loss: a change is one transaction of the journal, or, if it is long
// (freeing a large file), several that each leave the volume consistent, with
// the inode on the orphan list in between. New blocks become part of a file
// after their data is in place. Blocks and inodes that were freed are given out again only
// once the transaction that freed them has committed. The counts of free blocks
// and inodes agree with the groups in every transaction, and so does what quotas count. A volume without a journal has
// none of this but that what was synced is there: see unlogged.
package ext4
