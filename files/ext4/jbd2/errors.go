package jbd2

import (
	"errors"
	"fmt"
)

// ErrNoCredits is returned by Extend when the running transaction has no room
// for more blocks: finish what is consistent, Restart the handle, go on.
var ErrNoCredits = errors.New("jbd2: the transaction has no room for more credits")

// ErrTooLarge refuses a handle that asks for more credits than any transaction
// of this journal may hold. Split the operation, or use a larger journal.
var ErrTooLarge = errors.New("jbd2: operation is larger than a transaction of this journal can be")

// ErrBusy is returned by Flush and Close when the volume is being changed all
// the while: stop the operations first.
var ErrBusy = errors.New("jbd2: the volume is being changed while its journal is emptied")

// ErrClosed is returned for operations on a journal that was closed.
var ErrClosed = errors.New("jbd2: the journal is closed")

// FormatError reports that the journal's content cannot be what any writer left
// there, or is of a kind that is not supported. Nothing was written.
type FormatError struct {
	Block uint32 // of the log, counted from the journal's superblock at 0
	What  string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("jbd2: journal block %d: %s", e.Block, e.What)
}

// ChecksumError reports a block of a committed transaction whose checksum does
// not match: the device lost or changed what was made durable. Replay stops
// before it writes anything, unless told to salvage; e2fsck can judge the rest.
type ChecksumError struct {
	Structure   string // "descriptor block", "commit block", "revoke block", "data block", "superblock"
	Block       uint32 // of the log
	Transaction uint32 // sequence number
}

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("jbd2: checksum of the %s in journal block %d, transaction %d, does not match",
		e.Structure, e.Block, e.Transaction)
}

// AbortError is what every operation returns after the journal has given up:
// a write failed, so that what is on the device can no longer be vouched for.
// The file system must turn read-only; the next mount replays what committed.
type AbortError struct {
	Transaction uint32 // being committed or checkpointed; 0 if none
	Err         error  // the first cause
}

func (e *AbortError) Error() string {
	return fmt.Sprintf("jbd2: journal aborted in transaction %d: %v", e.Transaction, e.Err)
}

func (e *AbortError) Unwrap() error { return e.Err }
