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
		if s.port == nil || s.port.fabric != f || s.dropping != nil {
			continue
		}
		names = append(names, s.port.name)
		if s.port.name != c.Port && s.port.config.MAC.String() != c.Port {
			continue
		}
		if refusal := a.sup.kept.take(a.peer.UID, 1); refusal != nil {
			return refusal
		}
		s.port.endCapture()
		s.port.capturing = a.own(m.FDs[0])
		s.port.captures++
		m.FDs = nil
		s.offerCapture(false)
		a.reply(m.Ref, &broker.Closed{})
		return nil
	}
	return broker.Refuse(broker.CodeNotFound, "network %s has no port %q; its ports are: %s", c.Network, c.Port, strings.Join(names, ", "))
}

// offerCapture tells the active process to write, or to go on writing.
func (s *session) offerCapture(continued bool) {
	if p := s.server.active; p != nil && s.port.capturing != nil {
		p.send(&broker.Capture{Session: s.id, Number: s.port.captures, Continued: continued}, nil, s.port.capturing)
	}
}

// captured notes that nobody reads a capture any more.
func (s *server) captured(c *broker.Captured) {
	s.sup.mu.Lock()
	defer s.sup.mu.Unlock()
	session := s.sessions[c.Session]
	if session == nil || session.port == nil || c.Number != session.port.captures {
		return // it is of one that has ended already
	}
	slog.Info("capture ended", "server", s.config.Name, "port", session.port.name, "lost", c.Lost)
	session.port.endCapture()
}

func (p *port) endCapture() {
	p.capturing.release()
	p.capturing = nil
}
