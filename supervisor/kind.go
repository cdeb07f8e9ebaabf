package supervisor

import (
	"time"

	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/sandbox"
	"github.com/quintet-os/quintet/supervisor/topology"
)

// kind is one kind of server. Whatever the supervisor does differently for servers of
// one kind than of another is here or in the service of such a server.
type kind struct {
	calls sandbox.Calls
	// devices: what a dead process has asked of a device may still be written into the
	// memory of its sessions, so that their end needs a successor that has waited for the
	// fence.
	devices bool
	// serve makes the service of a server.
	serve func(*server) service
	// asked tells whether an application asks for a session with such a server.
	asked func(*broker.Connect) bool
	// admit decides what the session may do. Without an admission and an error the
	// answer comes later, and the session is no longer the caller's. Supervisor.mu is
	// held.
	admit func(a *application, ref uint64, c *broker.Connect, s *session) (*admission, error)
}

// kinds are those there are.
var kinds = map[topology.Kind]*kind{
	topology.Storage: {
		calls: sandbox.StorageCalls, devices: true,
		serve: func(s *server) service { return newVolumes(s) },
		asked: func(c *broker.Connect) bool { return c.Volume != "" },
		admit: admitToVolume,
	},
	topology.Switch: {
		calls: sandbox.ServerCalls,
		serve: func(s *server) service { return &networks{server: s} },
		asked: func(c *broker.Connect) bool { return c.Network != "" },
		admit: admitToNetwork,
	},
}

// service is what one server serves. Supervisor.mu is held in all methods, but for
// those where something else is said.
type service interface {
	// prepare makes it, so that what is wrong with it is an error of `up`. It is called
	// before there is anybody else.
	prepare(*topology.Topology) error
	// open gets ready what a process is to be handed, which may take its time. It is
	// called without locks. offer hands it to a process, forget lets it go instead.
	open() (offer func(*process), forget func())
	// rings is how many rings of io_uring a process has at most.
	rings() int
	// resident is the memory, in bytes, that a process maps and is charged for.
	resident() int64
	// receive takes a message that only processes of this kind send; false: it is none.
	// It is called without locks.
	receive(*process, broker.Body) bool
	// activated: the active process has been told to serve.
	activated()
	// ended: a process has died.
	ended(*process)
	// ensure looks after what is missing. busy tells whether that goes on, even after the
	// last process.
	ensure()
	busy() bool
	// settle waits, for max at most, until no device does anything more for the server's
	// processes, which have ended. It is called without locks.
	settle(max time.Duration)
	// left: an application has gone.
	left(*application)
	// state adds to the state of the server and of the system.
	state(*ServerState, *State)
	// close releases what was kept. It is called without locks, at the end.
	close()
}
