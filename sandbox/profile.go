package sandbox

import (
	"cmp"
	"fmt"
)

// Profile says what a server process may use. The zero values of its limits
// mean the defaults.
type Profile struct {
	Name   string `json:"name"`  // as ps(1) shows it, cut to 15 bytes
	Calls  Calls  `json:"calls"` // system calls beyond those every server needs
	Rings  int    `json:"rings"` // with StorageCalls: volumes it may open in its life; default ringsDefault
	Limits Limits `json:"limits"`
}

// ringEntries is the size of the io_uring that Enter reserves for each volume:
// operations in flight; 56 KiB.
const ringEntries = 512

// Limits bound the resources of a server process.
type Limits struct {
	Descriptors int   `json:"descriptors"` // open at once; default descriptorsDefault
	Threads     int   `json:"threads"`     // default threadsDefault
	LockedBytes int64 `json:"locked"`      // memory pinned for device I/O; default lockedBytesDefault
	MemoryBytes int64 `json:"memory"`      // by cgroup, page cache included; 0: unlimited
}

const (
	ringsMax           = 1024
	ringsDefault       = 8
	descriptorsDefault = 1 << 14
	threadsDefault     = 128
	lockedBytesDefault = 16 << 30
)

func (l Limits) withDefaults() Limits {
	if l.Descriptors == 0 {
		l.Descriptors = descriptorsDefault
	}
	if l.Threads == 0 {
		l.Threads = threadsDefault
	}
	if l.LockedBytes == 0 {
		l.LockedBytes = lockedBytesDefault
	}
	return l
}

func (p Profile) rings() int {
	if p.Calls != StorageCalls {
		return 0
	}
	return cmp.Or(p.Rings, ringsDefault)
}

// hostNetwork tells whether the process lives in the network namespace of the host.
func (p Profile) hostNetwork() bool { return p.Calls == SocketCalls }

func (p Profile) check() error {
	l := p.Limits
	switch {
	case p.Name == "":
		return fmt.Errorf("sandbox profile has no name")
	case !p.Calls.known():
		return fmt.Errorf("sandbox profile %s: no set of system calls is called %q", p.Name, p.Calls)
	case p.Rings < 0 || p.Rings > ringsMax:
		return fmt.Errorf("sandbox profile %s: %d rings; allowed: 0 to %d", p.Name, p.Rings, ringsMax)
	case l.Descriptors < 0 || l.Threads < 0 || l.LockedBytes < 0 || l.MemoryBytes < 0:
		return fmt.Errorf("sandbox profile %s: negative limit", p.Name)
	}
	return nil
}
