// Package storage is the contract of block storage: the volumes applications
// and file systems use, the devices servers drive, and the request that travels
// between them. It does no I/O.
//
// A volume is an array of bytes, addressed from 0 to Size, read and written in
// whole blocks. Invariants every implementation keeps (package
// storage/conformance is the test of them):
//
//   - A write that returned is seen by every later read, whoever reads.
//   - A write that returned survives the death of the server. It survives power
//     loss only after a Flush that began later has returned, or if it was
//     written with FUA.
//   - Operations in flight at the same time are not ordered, except that two of
//     them that touch a common block, one of them changing it, take effect one
//     after the other, whole. The order is the server's choice.
//   - An operation that failed may have changed any part of its range, and
//     nothing outside it.
//   - Nothing is executed twice as far as a caller can observe.
//
// Trust: a Request decoded from shared memory is still a stranger's word. Check
// compares it with the volume and the region; only a checked request is run.
// There are no locks here.
package storage

// Volume is a block volume, used synchronously. All methods may be called from
// any number of goroutines at once. Errors are of type *Error.
//
// Offsets and lengths are in bytes, and must be multiples of BlockSize: anything
// else fails with KindAlignment and does nothing. An operation that would leave
// 0..Size fails with KindBounds and does nothing. Parts of blocks are not offered: to
// change one is to read the rest and write it back, and what somebody else, perhaps in
// another program, writes in between would be undone, which no server can prevent that
// sees two requests. Bytes are what a file system is for.
type Volume interface {
	// ReadAt fills p. It returns len(p) or an error, never a short count alone;
	// on an error n bytes at the front of p are valid. There is no io.EOF:
	// reading past the end is KindBounds.
	ReadAt(p []byte, off int64) (n int, err error)
	// WriteAt writes p. On an error n bytes are known to have been written.
	WriteAt(p []byte, off int64) (n int, err error)
	// Flush makes every write that returned before Flush was called durable.
	Flush() error
	// Discard says that the contents of the range are no longer needed. They
	// read as anything afterwards, until written. A device that cannot discard
	// returns nil: it is a hint.
	Discard(off, length int64) error
	// WriteZeroes makes the range read as zeroes, releasing its blocks where the
	// device can.
	WriteZeroes(off, length int64) error
	// Size is in bytes, a multiple of BlockSize.
	Size() int64
	// BlockSize is the unit of reading and writing in bytes: a power of two,
	// BlockSizeMin to BlockSizeMax.
	BlockSize() int
	// Writable is false when every change would fail with KindPermission.
	Writable() bool
}

// Info describes a volume as one session sees it.
type Info struct {
	Size      int64 // bytes
	BlockSize int   // bytes
	Writable  bool
	Discard   bool // discards may release space; false when they are known to be ignored
}
