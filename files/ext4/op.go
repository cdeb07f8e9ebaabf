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
	// obeyed instead: see FS.Expect.
	Decision *Decision
	Replay   bool
	// Record, if not nil, is called with the Decision at the end of each part of the
	// operation, before that can commit: what is kept of the Decision then tells, whenever
	// the process dies, how far the operation had come. It may not use the file system.
	Record func(*Decision)
}

func (o *Op) now() disk.Time { return disk.TimeOf(o.Now) }

func (o *Op) replaying() bool { return o.Replay && o.Decision != nil }
