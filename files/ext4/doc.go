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
// inodes it works on. Lock order: inodes (a directory before what is in it),
// then a group, then the superblock, then the buffer cache.
package ext4
