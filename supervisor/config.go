package supervisor

import (
	"os"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/storage"
	"github.com/quintet-os/quintet/supervisor/topology"
)

// Config is what a supervisor runs.
type Config struct {
	// StateDir holds the lock and the control socket.
	StateDir string
	// Binary is where `quintet restart` looks for the program whose internal
	// subcommands are the servers. Until then that is the program of this process.
	Binary   string
	Topology *topology.Topology
	// ResolvConf is where the host keeps its resolvers; empty: /etc/resolv.conf. User
	// uplinks without resolvers of their own follow it.
	ResolvConf string

	limits limits // of servers, in tests; those of this host if they are zero
}

// right is what an application may do with a volume.
type right struct {
	readOnly bool
	limits   storage.Limits
}

// rightTo returns what the topology grants on a volume to a process of that
// user, or to the domain that `quintet run` has put it in. Of several grants the
// one that allows most counts.
func (s *Supervisor) rightTo(volume, domain string, peer unix.Peer) (right, bool) {
	var best right
	found := false
	for _, a := range s.config.Topology.Applications {
		if domain != "" && a.Name != domain || domain == "" && !mayBe(a, peer.UID) {
			continue
		}
		g, ok := s.config.Topology.Grant(a.Name, volume)
		if !ok || found && (!best.readOnly || g.Access == topology.ReadOnly) {
			continue
		}
		found = true
		best = right{
			readOnly: g.Access == topology.ReadOnly,
			limits:   storage.Limits{Requests: g.Limits.Requests, Bytes: g.Limits.Bytes},
		}
	}
	return best, found
}

// portIn returns what the topology says of the application's ports in a network.
// Without `quintet run`, a program may be any application of its user; the one whose
// name it has given goes first.
func (a *application) portIn(network string) (right topology.Port, granted bool) {
	for _, declared := range a.sup.config.Topology.Applications {
		if a.domain != "" && declared.Name != a.domain || a.domain == "" && !mayBe(declared, a.peer.UID) {
			continue
		}
		if p, ok := a.sup.config.Topology.Port(declared.Name, network); ok && (!granted || declared.Name == a.name) {
			right, granted = p, true
		}
	}
	return right, granted
}

// mayBe tells whether a process of that user may be the application. Root may be
// what the supervisor's own user may be.
func mayBe(a topology.Application, uid uint32) bool {
	switch a.UID {
	case topology.AnyUser:
		return true
	case topology.SupervisorUser:
		return uid == 0 || uid == uint32(os.Geteuid())
	}
	return uid == uint32(a.UID)
}

// socketMode lets other users reach the socket only if the topology grants
// something to them; who they are is then checked for each request.
func socketMode(t *topology.Topology) os.FileMode {
	for _, a := range t.Applications {
		if a.UID != topology.SupervisorUser && a.UID != os.Geteuid() {
			return 0o666
		}
	}
	return 0o600
}
