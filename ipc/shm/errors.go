package shm

import "errors"

var (
	// ErrNotMemory: a peer passed a descriptor that is not a memory file.
	ErrNotMemory = errors.New("shm: the peer's descriptor is not a memory file (memfd)")
	// ErrUnsealed: a peer passed a memory file that it could still truncate, or
	// write where it must not.
	ErrUnsealed = errors.New("shm: the peer's memory file lacks a seal")
	// ErrAccess: a peer passed a memory file that may not be mapped as is needed.
	ErrAccess = errors.New("shm: the peer's memory file may not be accessed as needed")
	// ErrSize: a size is out of bounds, or differs from what was announced.
	ErrSize = errors.New("shm: wrong size of shared memory")
)
