package broker

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// StatusBytes is the size of a status segment.
const StatusBytes = 4096

// Counter is a count in a status segment. Counters go on over all incarnations
// of a server.
type Counter int

// The counters. The numbers are part of the protocol.
const (
	CountRequests Counter = 1 + iota // taken from slots
	CountReplayed                    // of these, found in flight at a takeover
	CountRead                        // bytes
	CountWritten                     // bytes
	CountErrors                      // replies with an error

	heartbeatWord = 0
)

// StatusWords is a view of a status segment: memory that the supervisor keeps
// for a server, that the active process writes and the supervisor reads. Every
// word has one writer at a time and is written and read atomically.
type StatusWords struct {
	words *[StatusBytes / 8]atomic.Uint64
}

// ViewStatus returns the view of a mapping, which must be at least StatusBytes
// long and page-aligned.
func ViewStatus(mem []byte) (StatusWords, error) {
	if len(mem) < StatusBytes {
		return StatusWords{}, fmt.Errorf("broker: a status segment of %d bytes, need %d", len(mem), StatusBytes)
	}
	return StatusWords{(*[StatusBytes / 8]atomic.Uint64)(unsafe.Pointer(unsafe.SliceData(mem)))}, nil
}

// Beat moves the heartbeat. Its value means nothing, only that it changes; so
// the two processes need not agree on a clock.
func (s StatusWords) Beat() { s.words[heartbeatWord].Add(1) }

// Heartbeat returns the heartbeat.
func (s StatusWords) Heartbeat() uint64 { return s.words[heartbeatWord].Load() }

// Add adds to a counter.
func (s StatusWords) Add(c Counter, n uint64) { s.words[c].Add(n) }

// Count returns a counter.
func (s StatusWords) Count(c Counter) uint64 { return s.words[c].Load() }
