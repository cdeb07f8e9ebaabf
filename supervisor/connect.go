package supervisor

import (
	"encoding/json"
	"fmt"

	"github.com/quintet-os/quintet/ipc/broker"
)

// admission is what an application may have: a session with a server, on terms.
type admission struct {
	server *server
	terms  any // as the server is told
	told   any // as the application is
	held   held
}

// held is what a session has of its server beside its memory.
type held interface {
	// leave gives it back: no process has the session any more. Supervisor.mu is held.
	leave()
}

// connect makes a session, if the application has a right to it.
func (a *application) connect(m *broker.Message, c *broker.Connect) error {
	kind, err := kindOf(c)
	if err != nil {
		return err
	}
	id, err := a.begin()
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
	if err := a.enter(m.Ref, kind, c, s); err != nil {
		s.close()
		return err
	}
	return nil
}

// begin counts a session that is to be made, and numbers it.
func (a *application) begin() (id uint64, err error) {
	a.sup.mu.Lock()
	defer a.sup.mu.Unlock()
	if err := a.mayAsk(); err != nil {
		return 0, err
	}
	if refusal := a.sup.kept.take(a.peer.UID, sessionDescriptors+connectedDescriptors); refusal != nil {
		return 0, refusal
	}
	a.sup.lastSession++
	return a.sup.lastSession, nil
}

// enter admits a session that has been made and answers, now or later. Only with an
// error the session stays the caller's. Supervisor.mu is held.
func (a *application) enter(ref uint64, kind *kind, c *broker.Connect, s *session) error {
	if err := a.mayAsk(); err != nil { // it may have gone meanwhile
		return err
	}
	if len(a.sessions) >= sessionsMax {
		return broker.Refuse(broker.CodeLimit, "this application has %d sessions already", sessionsMax)
	}
	admitted, err := kind.admit(a, ref, c, s)
	if err != nil || admitted == nil {
		return err
	}
	return a.open(ref, s, admitted)
}

// kindOf is the kind of server with which a session is asked for.
func kindOf(c *broker.Connect) (*kind, error) {
	var asked []*kind
	for _, each := range kinds {
		if each.asked(c) {
			asked = append(asked, each)
		}
	}
	if len(asked) != 1 {
		return nil, broker.Refuse(broker.CodeMalformed, "a session is with a volume or with a network, with one of the two")
	}
	return asked[0], nil
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

// open enters a session that has been admitted, and answers. On error what it
// was to hold is given back here, and the session is the caller's.
func (a *application) open(ref uint64, s *session, to *admission) (err error) {
	defer func() {
		if err != nil && to.held != nil {
			to.held.leave()
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
	s.server, s.terms, s.held = to.server, terms, to.held
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
