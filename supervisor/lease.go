package supervisor

import (
	"encoding/json"
	"log/slog"
	"slices"
	"time"

	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/supervisor/topology"
)

// leaseMax is how long the DHCP server behind an uplink may take to answer.
const leaseMax = 15 * time.Second

// lease is a port that waits for its addresses from the DHCP server behind its
// network's uplink. Guarded by Supervisor.mu.
type lease struct {
	app     *application
	right   topology.Port
	ref     uint64   // of the question
	session *session // to be entered; owned until then
	timer   *time.Timer
}

// dhcp is the uplink that asks for the addresses of the network's ports, or nil.
func (f *fabric) dhcp() *uplink {
	for _, u := range f.server.sup.uplinks {
		if u.Network == f.Name && u.DHCP {
			return u
		}
	}
	return nil
}

// ask has the uplink get a lease for a port that is to be. The answer to the
// application comes with it. Unless there is an error, the session is the lease's.
func (f *fabric) ask(ref uint64, s *session, right topology.Port) error {
	u := f.dhcp()
	if u.app == nil {
		return broker.Refuse(broker.CodeDown, "uplink %s, which asks for the addresses of network %s, is not there now; try again", u.Name, f.Name)
	}
	mac := right.MAC
	if mac == (network.MAC{}) {
		mac = f.mac(right.To)
	}
	if f.macs[mac] {
		return broker.Refuse(broker.CodeConflict, "another port of network %s has the address %v; an application with a MAC of its own has one port", f.Name, mac)
	}
	l := &lease{app: s.app, right: right, ref: ref, session: s}
	l.right.MAC = mac
	f.macs[mac] = true
	f.leases[mac] = l
	l.timer = time.AfterFunc(leaseMax, func() {
		f.server.sup.mu.Lock()
		defer f.server.sup.mu.Unlock()
		f.refuse(mac, l, broker.Refuse(broker.CodeDown, "no DHCP server behind uplink %s has answered within %v", u.Name, leaseMax))
	})
	u.app.tell(&broker.Lease{MAC: mac.String(), Host: right.To})
	return nil
}

// refuse ends the wait for a lease, if it has not ended.
func (f *fabric) refuse(mac network.MAC, l *lease, refusal *broker.Refused) {
	if f.leases[mac] != l {
		return
	}
	f.forget(mac, l)
	l.app.reply(l.ref, refusal)
	l.session.close()
	f.release(mac)
}

func (f *fabric) forget(mac network.MAC, l *lease) {
	delete(f.leases, mac)
	delete(f.macs, mac)
	l.timer.Stop()
}

// abandon ends the waits of an application that has gone.
func (f *fabric) abandon(a *application) {
	for mac, l := range f.leases {
		if l.app == a {
			f.refuse(mac, l, broker.Refuse(broker.CodeDown, "the application has gone"))
		}
	}
}

// release gives a lease back.
func (f *fabric) release(mac network.MAC) {
	if u := f.dhcp(); u != nil && u.app != nil {
		u.app.tell(&broker.Release{MAC: mac.String()})
	}
}

// leased takes what an uplink has got, or has failed to get, or has lost.
func (a *application) leased(b *broker.Leased) error {
	if a.uplink == nil || !a.uplink.DHCP {
		return broker.Refuse(broker.CodeMalformed, "an application must not send this message")
	}
	f := a.sup.fabrics[a.uplink.Network]
	mac, err := network.ParseMAC(b.MAC)
	if err != nil {
		return broker.Refuse(broker.CodeMalformed, "%v", err)
	}
	var got network.Interface
	if b.Failed == "" {
		if err := json.Unmarshal(b.Interface, &got); err != nil {
			return broker.Refuse(broker.CodeMalformed, "a lease: %v", err)
		}
	}
	if l := f.leases[mac]; l != nil {
		if b.Failed != "" {
			f.refuse(mac, l, broker.Refuse(broker.CodeDown, "the DHCP server behind uplink %s: %s", a.uplink.Name, b.Failed))
			return nil
		}
		f.forget(mac, l)
		l.settle(f, mac, &got)
		return nil
	}
	f.renewed(mac, &got, b.Failed)
	return nil
}

// settle makes the port and answers the application.
func (l *lease) settle(f *fabric, mac network.MAC, got *network.Interface) {
	got.MAC = mac
	p, err := f.join(&l.right, got)
	if err != nil {
		f.release(mac)
	} else {
		err = l.app.open(l.ref, l.session, p.admission()) // the port gives its lease back
	}
	if err != nil {
		l.session.close()
		l.app.reply(l.ref, asRefusal(err))
	}
}

// renewed checks what an uplink says of a port that there is: one whose lease is lost,
// or has become another, has no right to its addresses any more.
func (f *fabric) renewed(mac network.MAC, got *network.Interface, failed string) {
	for _, s := range f.server.sessions {
		p := s.port()
		if p == nil || p.fabric != f || p.config.MAC != mac || s.dropping != nil {
			continue
		}
		if failed == "" && slices.Equal(got.Addresses, p.iface.Addresses) {
			return
		}
		reason := "the DHCP server gave other addresses"
		if failed != "" {
			reason = "the lease of its addresses: " + failed
		}
		s.failed = reason
		slog.Warn("session failed", "server", f.server.config.Name, "application", s.app.name, "session", s.id, "reason", reason)
		s.app.tell(&broker.Ended{Session: s.id, Reason: reason})
		s.end(nil)
		return
	}
	f.release(mac)
}

// renew has a new process of the uplink take over the leases of all ports.
func (f *fabric) renew(u *uplink) {
	for p := range f.ports {
		if p.leased {
			u.app.tell(&broker.Lease{MAC: p.config.MAC.String(), Host: p.name})
		}
	}
	for mac, l := range f.leases {
		u.app.tell(&broker.Lease{MAC: mac.String(), Host: l.right.To})
	}
}
