package supervisor

import (
	"log/slog"
	"strings"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc/broker"
)

// capture has the frames of a port written to a socket until nobody reads it any more.
// The socket is kept, so that a capture outlives the server. Supervisor.mu is held.
func (a *application) capture(m *broker.Message, c *broker.Capturing) error {
	if err := a.mayControl("capture"); err != nil {
		return err
	}
	if err := unix.SetNonblockingPackets(m.FDs[0]); err != nil {
		return broker.Refuse(broker.CodeMalformed, "the file of a capture: %v", err)
	}
	f := a.sup.fabrics[c.Network]
	if f == nil {
		return broker.Refuse(broker.CodeNotFound, "there is no network %q; `quintet ps` lists them", c.Network)
	}
	var names []string
	for _, s := range f.server.sessions {
		p := s.port()
		if p == nil || p.fabric != f || s.dropping != nil {
			continue
		}
		names = append(names, p.name)
		if p.name != c.Port && p.config.MAC.String() != c.Port {
			continue
		}
		if refusal := a.sup.kept.take(a.peer.UID, 1); refusal != nil {
			return refusal
		}
		p.endCapture()
		p.capturing = a.own(m.FDs[0])
		p.captures++
		m.FDs = nil
		s.offerCapture(p, false)
		a.reply(m.Ref, &broker.Closed{})
		return nil
	}
	return broker.Refuse(broker.CodeNotFound, "network %s has no port %q; its ports are: %s", c.Network, c.Port, strings.Join(names, ", "))
}

// offerCapture tells the active process to write, or to go on writing.
func (s *session) offerCapture(of *port, continued bool) {
	if p := s.server.active; p != nil && of.capturing != nil {
		p.send(&broker.Capture{Session: s.id, Number: of.captures, Continued: continued}, nil, of.capturing)
	}
}

// captured notes that nobody reads a capture any more.
func (n *networks) captured(c *broker.Captured) {
	n.server.sup.mu.Lock()
	defer n.server.sup.mu.Unlock()
	session := n.server.sessions[c.Session]
	if session == nil {
		return
	}
	p := session.port()
	if p == nil || c.Number != p.captures {
		return // it is of one that has ended already
	}
	slog.Info("capture ended", "server", n.server.config.Name, "port", p.name, "lost", c.Lost)
	p.endCapture()
}

func (p *port) endCapture() {
	p.capturing.release()
	p.capturing = nil
}
