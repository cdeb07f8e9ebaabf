package uring

import (
	"errors"
	"fmt"
	"sync"
)

// ErrNoReserve is returned by New when every reserved ring is in use.
var ErrNoReserve = errors.New("uring: every ring reserved for this process is in use; its sandbox allows no more")

var reserve struct {
	sync.Mutex
	active bool
	rings  []*Ring
}

// Reserve makes count rings for the calls of New to come, and has the kernel
// restrict them to the operations of this package. A process that is then
// denied io_uring_setup cannot use io_uring to open files or to make and
// connect sockets, which no seccomp filter would see: io_uring_register(2),
// IORING_REGISTER_RESTRICTIONS. To be called once, before any New.
func Reserve(count, entries int) error {
	reserve.Lock()
	defer reserve.Unlock()
	reserve.active = true
	for range count {
		r, err := create(entries, ModeCooperate, setupDisabled)
		if err != nil {
			return err
		}
		if err := r.restrict(); err != nil {
			r.Close()
			return fmt.Errorf("uring: restrict a ring: %w", err)
		}
		reserve.rings = append(reserve.rings, r)
	}
	return nil
}

// takeReserved returns no ring and no error if nothing was ever reserved. The
// ring belongs to the calling thread from here on.
func takeReserved(entries int) (*Ring, error) {
	reserve.Lock()
	defer reserve.Unlock()
	if !reserve.active {
		return nil, nil
	}
	if len(reserve.rings) == 0 {
		return nil, ErrNoReserve
	}
	last := len(reserve.rings) - 1
	r := reserve.rings[last]
	if entries > r.Entries() {
		return nil, fmt.Errorf("uring: %d entries, reserved were rings of %d", entries, r.Entries())
	}
	if err := register(r.fd, registerEnable, nil, 0); err != nil {
		return nil, fmt.Errorf("uring: enable a reserved ring: %w", err)
	}
	reserve.rings = reserve.rings[:last]
	return r, nil
}

// restriction is struct io_uring_restriction.
type restriction struct {
	kind  uint16
	value uint8
	_     uint8
	_     [3]uint32
}

func restrictions() []restriction {
	var all []restriction // flags of submissions are all refused
	for _, op := range []uint8{opNop, opFsync, opReadFixed, opWriteFixed, opFallocate, opRead, opWrite} {
		all = append(all, restriction{kind: restrictOp, value: op})
	}
	for _, op := range []uint8{registerEventfd, registerBuffers2, registerBuffersUpdate} {
		all = append(all, restriction{kind: restrictRegister, value: op})
	}
	return all
}
