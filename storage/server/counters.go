package server

import (
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/storage"
)

// Counters are of one session, or of one volume, since this server began.
type Counters struct {
	Requests uint64 `json:"requests"` // taken; sessions only
	Replayed uint64 `json:"replayed"` // taken again after a death; sessions only
	Waits    uint64 `json:"waits"`    // times the head of the session was put off; sessions only
	Errors   uint64 `json:"errors"`   // answered with a kind other than KindOK

	Reads        uint64 `json:"reads"`
	Writes       uint64 `json:"writes"`
	Flushes      uint64 `json:"flushes"`
	Discards     uint64 `json:"discards"` // and write-zeroes
	BytesRead    uint64 `json:"bytes_read"`
	BytesWritten uint64 `json:"bytes_written"`
}

// count adds an operation that succeeded.
func (c *Counters) count(r *storage.Request) {
	switch r.Op {
	case storage.OpRead:
		c.Reads++
		c.BytesRead += uint64(r.Length)
	case storage.OpWrite:
		c.Writes++
		c.BytesWritten += uint64(r.Length)
	case storage.OpFlush:
		c.Flushes++
	default:
		c.Discards++
	}
}

// Counters returns those of a session.
func (c *Core) Counters(s *ipc.Session) Counters {
	if known := c.byIPC[s]; known != nil {
		return known.counters
	}
	return Counters{}
}

// Total returns the sum over all sessions, ended ones included.
func (c *Core) Total() Counters { return c.total }
