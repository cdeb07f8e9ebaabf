package supervisor

import (
	"time"

	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/supervisor/topology"
)

// networks are what a network server serves: fabrics, with their ports.
type networks struct {
	server   *server
	fabrics  []*fabric // the index is network.PortConfig.Network; fixed once prepared
	counters *counterTable
	rows     []bool // of what is kept of ports, in use
	touched  int    // rows that have been in use
}

func (n *networks) prepare(t *topology.Topology) (err error) {
	if n.counters, err = newCounterTable(n.server.config.Name); err != nil {
		return err
	}
	n.rows = make([]bool, network.PortsMax)
	for number, declared := range t.NetworksOf(n.server.config.Name) {
		f, err := newFabric(declared, t, n, number)
		if err != nil {
			return err
		}
		n.fabrics = append(n.fabrics, f)
		n.server.sup.fabrics[declared.Name] = f
	}
	return nil
}

func (n *networks) open() (offer func(*process), forget func()) {
	return func(p *process) {
		p.send(&broker.Counters{Bytes: network.KeptBytes}, nil, n.counters.file)
	}, func() {}
}

func (n *networks) receive(_ *process, body broker.Body) bool {
	captured, is := body.(*broker.Captured)
	if is {
		n.captured(captured)
	}
	return is
}

// activated has the captures of the dead process go on.
func (n *networks) activated() {
	for _, s := range n.server.sessions {
		if p := s.port(); p != nil && s.dropping == nil {
			s.offerCapture(p, true)
		}
	}
}

func (n *networks) left(a *application) {
	for _, f := range n.fabrics {
		f.abandon(a)
	}
}

func (n *networks) state(server *ServerState, system *State) {
	for _, f := range n.fabrics {
		server.Networks = append(server.Networks, f.Name)
		system.Networks = append(system.Networks, f.state())
	}
}

func (n *networks) close() {
	if n.counters != nil {
		n.counters.close()
	}
}

func (n *networks) rings() int           { return 0 }
func (n *networks) resident() int64      { return int64(n.touched) * (network.KeptBytes / network.PortsMax) }
func (n *networks) ended(*process)       {}
func (n *networks) ensure()              {}
func (n *networks) busy() bool           { return false }
func (n *networks) settle(time.Duration) {}

// takeRow finds a free row of the tables that are kept.
func (n *networks) takeRow() (row int, ok bool) {
	for row, taken := range n.rows {
		if !taken {
			n.rows[row] = true
			n.touched = max(n.touched, row+1)
			n.counters.Clear(row)
			return row, true
		}
	}
	return 0, false
}

// admitToNetwork makes a port.
func admitToNetwork(a *application, ref uint64, c *broker.Connect, s *session) (*admission, error) {
	f, err := a.fabric(c.Network)
	if err != nil {
		return nil, err
	}
	if err := network.CheckGeometry(c.Geometry); err != nil {
		return nil, broker.Refuse(broker.CodeLimit, "%v", err)
	}
	var p *port
	right, _ := a.portIn(c.Network)
	switch {
	case a.uplink != nil:
		if p, err = f.joinUplink(&a.uplink.Uplink); err == nil && a.uplink.DHCP {
			f.renew(a.uplink)
		}
	case f.dhcp() != nil && len(right.Addresses) == 0:
		return nil, f.ask(ref, s, right)
	default:
		p, err = f.join(&right, nil)
	}
	if err != nil {
		return nil, err
	}
	return p.admission(), nil
}

// admission is the right to a port that has been made.
func (p *port) admission() *admission {
	return &admission{server: p.fabric.server, terms: p.config, told: p.iface, held: p}
}

// port is the session's, or nil.
func (s *session) port() *port {
	p, _ := s.held.(*port)
	return p
}
