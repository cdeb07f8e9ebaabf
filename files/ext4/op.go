package ext4

import (
	"time"

	"github.com/quintet-os/quintet/files/ext4/disk"
)

// Op is what an operation that changes a file system is told beside its
// arguments, and where it leaves what it decided.
type Op struct {
	Now      time.Time // of day: becomes the times of what is changed
	UID, GID uint32    // owner of what is created
	// Umask is taken from the permissions of what is created, unless its
	// directory has a default access control list, which then decides.
	Umask uint16
	// Privileged operations may use the blocks reserved for the superuser.
	Privileged bool
	// Decision, if not nil, records what was decided. With Replay set it is
	// obeyed instead: the operation, called with the same arguments on the state
	// it was first applied to, takes exactly the same inode and blocks, and data
	// is not written again.
	Decision *Decision
	Replay   bool
}

// Decision is what an operation decided. A later call with Op.Replay obeys it.
type Decision struct {
	// Sequence is the last transaction of the journal the operation is part of.
	// It need not be replayed once that has committed.
	Sequence   uint32
	Ino        uint32 // of what was created
	Generation uint32
	Blocks     []Run // of data, in the order of the file
	Metadata   []uint64
	next       int // Blocks and
	nextMeta   int // Metadata already taken by a replay
}

// Run is a stretch of blocks of the volume.
type Run struct {
	Block uint64
	Count uint32
}

func (o *Op) now() disk.Time { return disk.TimeOf(o.Now) }

func (o *Op) replaying() bool { return o.Replay && o.Decision != nil }

// rewind prepares the decision for a new attempt.
func (o *Op) rewind() {
	d := o.Decision
	if d == nil {
		return
	}
	if o.Replay {
		d.next, d.nextMeta = 0, 0
	} else {
		*d = Decision{}
	}
}
