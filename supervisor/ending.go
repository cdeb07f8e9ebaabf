package supervisor

import "github.com/quintet-os/quintet/ipc/broker"

// ending is the end of a session in progress. Its memory is let go of in this order:
// first an active process says that no device uses it any more, then the standbys
// let go, then it is closed and the client is told. A process that dies has told
// nothing: its device I/O may still be on its way, and only a successor, which waits
// for the fence, can tell when it is not. Guarded by Supervisor.mu.
type ending struct {
	fenced bool              // no device, nor any process, writes to the session's memory
	asked  map[*process]bool // processes that have been told to let go
	told   func()            // called at the end
	ended  bool
}

// end ends a session; told is called when its memory is its client's alone.
// Supervisor.mu is held.
func (s *session) end(told func()) {
	if s.dropping != nil {
		return
	}
	s.dropping = &ending{fenced: !s.used, asked: make(map[*process]bool), told: told}
	s.continueEnd()
}

// continueEnd asks whoever is next to let go. It is called whenever a process has let
// go, has died or has become active. Supervisor.mu is held.
func (s *session) continueEnd() {
	if s.dropping == nil || s.dropping.ended {
		return
	}
	if !s.dropping.fenced {
		if active := s.server.active; active != nil && s.holders[active] {
			s.askToLetGo(active)
		}
		return
	}
	for p := range s.holders {
		s.askToLetGo(p)
	}
	if len(s.holders) == 0 {
		s.finishEnd()
	}
}

func (s *session) askToLetGo(p *process) {
	if !s.dropping.asked[p] {
		s.dropping.asked[p] = true
		p.send(&broker.Drop{Session: s.id}, func() { s.server.sessionDropped(s, p) })
	}
}

// sessionDropped notes that a process has let go of a session.
func (s *server) sessionDropped(session *session, p *process) {
	s.sup.mu.Lock()
	defer s.sup.mu.Unlock()
	if p == s.active {
		session.dropping.fenced = true
	}
	session.letGo(p)
}

// letGo records that p no longer has the session. Supervisor.mu is held.
func (s *session) letGo(p *process) {
	for _, r := range s.regions {
		delete(r.mapped, p)
	}
	delete(s.holders, p)
	s.continueEnd()
}

// died records the end of the process that was active. What only processes write to
// needs no fence. Supervisor.mu is held.
func (s *session) died() {
	if s.dropping != nil && !s.server.kind.devices {
		s.dropping.fenced = true
	}
}

// finishEnd closes what is kept of the session and tells its end.
func (s *session) finishEnd() {
	s.dropping.ended = true
	delete(s.server.sessions, s.id)
	s.server.room.leave(s.app.peer.UID, len(s.regions))
	s.server.adjustMemory()
	delete(s.app.sessions, s.id)
	if s.held != nil {
		s.held.leave()
	}
	s.close()
	if s.dropping.told != nil {
		s.dropping.told()
	}
}
