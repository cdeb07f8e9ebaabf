// Package disk is the ext4 on-disk format: every structure with its exact
// encoding and checksum, and nothing that does I/O.
//
// Purpose: one place that knows offsets. A structure is decoded into a Go
// value, changed, and encoded over the bytes it came from, so fields this
// package does not know survive a rewrite.
//
// Trust: bytes come from a device that may be damaged or hostile. No function
// here panics or loops without a bound on any input; what is inconsistent is
// reported as a *CorruptError naming the structure.
//
// Concurrency: values are not synchronised. Functions are pure but for their
// arguments.
//
// Sources: the "ext4 Data Structures and Algorithms" chapter of the Linux
// kernel documentation (Documentation/filesystems/ext4/).
package disk

import "encoding/binary"

var le = binary.LittleEndian

// Bounds of the format.
const (
	SuperblockOffset = 1024 // bytes from the start of the device
	SuperblockSize   = 1024 // bytes
	Magic            = 0xEF53

	BadBlocksIno = 1 // maps the blocks that are not to be used
	RootIno      = 2
	ResizeIno    = 7
	JournalIno   = 8
	FirstIno     = 11 // the first inode of users, by default
	NameLenMax   = 255
	LinksMax     = 65000 // beyond it a directory's link count is stored as 1
	ExtentsDepth = 5     // levels above the leaves
	BlockSizeMin = 1024
	BlockSizeMax = 65536
)
