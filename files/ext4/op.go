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
	// Transactions are those of the journal the operation is part of, by sequence, the
	// oldest first. It need not be replayed once the last has committed.
	Transactions []uint32
	// Held says that an inode that lost its last name was held, and so was kept.
	Held       bool
	Ino        uint32 // of what was created
	Generation uint32
	Blocks     []Run // of data, in the order of the file
	Metadata   []uint64
	Quota      []uint64 // of metadata too, of quota files
	next       int      // Blocks and
	nextMeta   int      // Metadata and
	nextQuota  int      // Quota already taken by a replay
}

// Run is a stretch of blocks of the volume.
type Run struct {
	Block uint64
	Count uint32
}

// Last is the last transaction that the operation is part of, 0 if it changed nothing.
func (d *Decision) Last() uint32 {
	if len(d.Transactions) == 0 {
		return 0
	}
	return d.Transactions[len(d.Transactions)-1]
}

func (o *Op) now() disk.Time { return disk.TimeOf(o.Now) }

func (o *Op) replaying() bool { return o.Replay && o.Decision != nil }

// joined records a transaction that the operation is part of.
func (o *Op) joined(sequence uint32) {
	d := o.Decision
	if d != nil && (len(d.Transactions) == 0 || d.Transactions[len(d.Transactions)-1] != sequence) {
		d.Transactions = append(d.Transactions, sequence)
	}
}

// rewind prepares the decision for a new attempt.
func (o *Op) rewind() {
	d := o.Decision
	if d == nil {
		return
	}
	if o.Replay {
		d.next, d.nextMeta, d.nextQuota, d.Transactions = 0, 0, 0, nil
	} else {
		*d = Decision{}
	}
}
