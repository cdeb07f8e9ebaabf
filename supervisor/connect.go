package supervisor

import (
	"encoding/json"
	"fmt"

	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/storage"
)

// admission is what an application may have: a session with a server, on terms.
type admission struct {
	server *server
	terms  any // as the server is told
	told   any // as the application is
	port   *port
}

// connect makes a session, if the application has a right to it.
func (a *application) connect(m *broker.Message, c *broker.Connect) error {
	id, err := a.begin(c)
	if err != nil {
		return err
	}
	s, err := a.newSession(id, c.Geometry, m.FDs[0])
	m.FDs = nil
	if err != nil {
		return err
	}
	a.sup.mu.Lock()
	defer a.sup.mu.Unlock()
	if err := a.enter(m.Ref, c, s); err != nil {
		s.close()
		return err
	}
	return nil
}

// begin counts a session that is to be made, and numbers it.
func (a *application) begin(c *broker.Connect) (id uint64, err error) {
	a.sup.mu.Lock()
	defer a.sup.mu.Unlock()
	if err := a.mayAsk(); err != nil {
		return 0, err
	}
	if (c.Volume == "") == (c.Network == "") {
		return 0, broker.Refuse(broker.CodeMalformed, "a session is with a volume or with a network, with one of the two")
	}
	if refusal := a.sup.kept.take(a.peer.UID, sessionDescriptors+connectedDescriptors); refusal != nil {
		return 0, refusal
	}
	a.sup.lastSession++
	return a.sup.lastSession, nil
}

// enter admits a session that has been made and answers, now or later. Only with an
// error the session stays the caller's. Supervisor.mu is held.
func (a *application) enter(ref uint64, c *broker.Connect, s *session) error {
	if err := a.mayAsk(); err != nil { // it may have gone meanwhile
		return err
	}
	if len(a.sessions) >= sessionsMax {
		return broker.Refuse(broker.CodeLimit, "this application has %d sessions already", sessionsMax)
	}
	var admitted *admission
	var err error
	if c.Volume != "" {
		admitted, err = a.admitToVolume(c)
	} else {
		admitted, err = a.admitToNetwork(ref, c, s)
	}
	if err != nil || admitted == nil {
		return err
	}
	return a.open(ref, s, admitted)
}

func (a *application) admitToVolume(c *broker.Connect) (*admission, error) {
	server, handle := a.sup.find(c.Volume)
	if server == nil {
		return nil, broker.Refuse(broker.CodeNotFound, "there is no volume %q; `quintet ps` lists them", c.Volume)
	}
	right, granted := a.sup.rightTo(c.Volume, a.domain, a.peer)
	switch {
	case !granted:
		return nil, broker.Refuse(broker.CodeDenied, "the topology does not grant volume %q to %s; add a grant to it", c.Volume, a.who())
	case right.readOnly && !c.ReadOnly:
		return nil, broker.Refuse(broker.CodeDenied, "the topology grants volume %q to %s for reading only; connect read-only", c.Volume, a.who())
	}
	if active := server.active; active != nil {
		if reason, lost := active.lost[handle]; lost {
			return nil, broker.Refuse(broker.CodeDown, "%s; it is served again when it is back", reason)
		}
	}
	terms := storage.Terms{Volume: handle, ReadOnly: c.ReadOnly || server.volumes[handle].ReadOnly, Limits: right.limits}
	return &admission{server: server, terms: terms, told: terms}, nil
}

// admitToNetwork makes a port. Without a port and an error, the answer comes later,
// and the session is its.
func (a *application) admitToNetwork(ref uint64, c *broker.Connect, s *session) (*admission, error) {
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
	return &admission{server: p.fabric.server, terms: p.config, told: p.iface, port: p}
}

// fabric finds a network to which the application has a right.
func (a *application) fabric(name string) (*fabric, error) {
	f := a.sup.fabrics[name]
	if f == nil {
		return nil, broker.Refuse(broker.CodeNotFound, "there is no network %q; `quintet ps` lists them", name)
	}
	if a.uplink != nil && a.uplink.Network == name {
		return f, nil
	}
	if _, granted := a.portIn(name); !granted {
		return nil, broker.Refuse(broker.CodeDenied, "the topology has no port in network %q for %s; add it to the application's networks", name, a.who())
	}
	return f, nil
}

// open enters a session that has been admitted, and answers. On error the port that
// has been made for it is given back here, and the session is the caller's.
func (a *application) open(ref uint64, s *session, to *admission) (err error) {
	defer func() {
		if err != nil && to.port != nil {
			to.port.leave()
		}
	}()
	if refusal := to.server.crowded(); refusal != nil {
		return refusal
	}
	terms, err := json.Marshal(to.terms)
	if err != nil {
		return err
	}
	told, err := json.Marshal(to.told)
	if err != nil {
		return err
	}
	uid := a.peer.UID
	if refusal := to.server.room.take(uid, a.sup.kept.privileged(uid), sessionServerDescriptors, sessionMappings); refusal != nil {
		return refusal
	}
	s.server, s.terms, s.port = to.server, terms, to.port
	a.sessions[s.id], to.server.sessions[s.id] = s, s
	for _, p := range to.server.processes() {
		s.offer(p)
	}
	a.reply(ref, &broker.Connected{Session: s.id, Terms: told}, s.readOnly, s.doorbell.hold())
	s.readOnly = nil
	a.sup.changed.Broadcast() // for those who wait for an uplink
	return nil
}

// resolve answers what a network says of a name.
func (a *application) resolve(ref uint64, r *broker.Resolve) error {
	f, err := a.fabric(r.Network)
	if err != nil {
		return err
	}
	answer := f.resolve(r.Name)
	a.reply(ref, &answer)
	return nil
}

// who names the application as the topology would.
func (a *application) who() string {
	if a.domain != "" {
		return "application " + a.domain
	}
	return fmt.Sprintf("uid %d", a.peer.UID)
}
