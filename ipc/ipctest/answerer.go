package ipctest

import (
	"time"

	"github.com/quintet-os/quintet/ipc"
)

// What a request asks for, in its first word.
const (
	opEcho    = iota // to be answered with echoed
	opHold           // to be answered when the next opRelease of its session comes
	opRelease        // to be answered after all that is held
	opDie            // to kill the server, unless it has in ipc.PoisonAttempts deaths
	opEnd            // to end the session
)

// echoed is the reply to a request, different in every word.
func echoed(w ipc.Words) ipc.Words {
	for i := range w {
		w[i] = w[i]*0x9e3779b97f4a7c15 + uint64(i)
	}
	return w
}

// answerer is the server core under test; an ipc.Core.
type answerer struct {
	generation uint64
	sessions   *ipc.Sessions
	held       map[*ipc.Session][]int // slots
	die        func()                 // does not return
}

func newAnswerer(generation uint64, die func()) *answerer {
	return &answerer{generation: generation, sessions: ipc.NewSessions(), held: make(map[*ipc.Session][]int), die: die}
}

func (a *answerer) Step(time.Duration) (worked bool) {
	for _, s := range a.sessions.Active() {
		for {
			r, ok := s.Next()
			if !ok {
				break
			}
			worked = true
			s.Begin(r.Slot)
			a.answer(s, &r)
		}
		if s.Err() == nil && a.turnRings(s) {
			worked = true
		}
	}
	return worked
}

func (a *answerer) answer(s *ipc.Session, r *ipc.Request) {
	switch r.Words[0] {
	case opHold:
		s.Park(r.Slot)
		a.held[s] = append(a.held[s], r.Slot)
		return
	case opRelease:
		for _, slot := range a.held[s] {
			s.Reply(slot, &ipc.Words{opHold})
		}
		delete(a.held, s)
	case opDie:
		if r.Attempts < ipc.PoisonAttempts {
			a.die()
		}
		s.Reply(r.Slot, &ipc.Words{opDie, uint64(r.Attempts)})
		return
	case opEnd:
		s.Fail(ipc.ReasonRequest, "as it asked for")
	}
	reply := echoed(r.Words)
	s.Reply(r.Slot, &reply)
}

// turnRings sends back what comes. A descriptor whose third word is the server's
// generation kills it when the descriptor has been sent back and is still to be
// released, which is when a successor sends it back once more.
func (a *answerer) turnRings(s *ipc.Session) (worked bool) {
	out, in := s.Out(0), s.In(0)
	if in.Free() == 0 {
		out.Pause()
		return false
	}
	out.Resume()
	var d ipc.Descriptor
	deadly := false
	for in.Free() > 0 && out.Pop(&d) {
		in.Push(&d)
		deadly = deadly || d[2] == a.generation
		worked = true
	}
	in.Publish()
	if deadly {
		a.die()
	}
	out.Commit()
	return worked
}

// attach makes the core serve a session that may have had a server before.
func (a *answerer) attach(l *ipc.Loop, cfg ipc.SessionConfig) error {
	s, err := ipc.NewSession(cfg)
	if err != nil {
		return err
	}
	s.Attach(a.generation)
	return l.Add(s)
}
