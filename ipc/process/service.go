package process

import (
	"time"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
)

// Service is what a server does with its sessions. All methods are called on the
// loop's thread. One that is an ipc.Timed too is stepped at its deadlines.
type Service interface {
	ipc.Core
	// Take handles a message that is about the service, and owns its descriptors
	// then. It returns false for any other. An error ends the process.
	Take(m *broker.Message) (taken bool, err error)
	// Prepare is told of each session that the process has mapped, as a standby or
	// while it serves; in the second case the service attaches it, now or later. An
	// error ends the process.
	Prepare(s *Session) error
	// Activate takes over. The service has each session attached as soon as no
	// predecessor, nor any device on its behalf, writes to its memory any more, and
	// then says Recovered.
	Activate()
	// Serve begins to serve a session that has just been attached, before the next
	// step. An error ends the process.
	Serve(s *Session) error
	// Settled tells whether all that the predecessor left in flight has been
	// answered.
	Settled() bool
	// Remove lets go of a session and calls done once nothing uses its memory.
	Remove(s *Session, done func())
	// Drain stops taking new work; Drained tells when nothing is left of the old.
	Drain()
	Drained() bool
	// Count adds what has been done since its last call to the server's status. It
	// is called often.
	Count(now time.Duration, status broker.StatusWords)
}
