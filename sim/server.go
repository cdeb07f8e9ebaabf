//go:build simulator

package sim

import (
	"fmt"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/storage"
	"github.com/quintet-os/quintet/storage/server"
)

// incarnation is one server, from its birth to its death.
type incarnation struct {
	world    *world
	number   int
	writes   int
	sessions *ipc.Sessions
	core     *server.Core
	volume   *server.Volume
	device   *device
	epoll    *unix.Epoll
	byClient map[*client]*ipc.Session
	asleep   bool
	draining bool
	budget   uint64 // ticks of idleness before sleep
}

// birth starts the next server. It may die on the way.
func (w *world) birth() {
	w.generation++
	s := &incarnation{world: w, number: w.generation, sessions: ipc.NewSessions(), device: w.disk.open(),
		byClient: make(map[*client]*ipc.Session), budget: w.rng.Uint64N(4)}
	var err error
	if s.epoll, err = unix.NewEpoll(len(w.clients) + 1); err != nil {
		w.fail(err)
		return
	}
	w.server = s
	s.core = server.NewCore(s.sessions)
	s.core.Failed = func(session *ipc.Session, err error) {
		c := w.clients[session.ID]
		if !c.hostile {
			w.fail(fmt.Errorf("the session of client %d ended: %w", c.number, err))
		}
		c.ended = true
	}
	s.volume = s.core.AddVolume("disk", s.device)
	s.run(func() {
		for i, c := range w.clients {
			if c.gone {
				continue
			}
			session, err := ipc.NewSession(ipc.SessionConfig{ID: uint64(i), Geometry: c.geometry,
				Client: c.mine, Server: c.theirs, Doorbell: c.doorbell})
			if err == nil {
				err = s.epoll.Add(c.doorbell, int32(i))
			}
			if err != nil {
				w.fail(err)
				return
			}
			session.AddRegion(&ipc.Region{ID: 1, Mem: c.region, Writable: true})
			session.Attach(uint64(s.number))
			s.core.AddSession(session, []server.Grant{{Volume: s.volume}}, storage.Limits{Requests: w.plan.Limit})
			s.sessions.Add(session)
			s.byClient[c] = session
		}
	})
}

// run runs f as the server.
func (s *incarnation) run(f func()) {
	if s.world.guard(&s.writes, s.number, s.world.plan.Servers, f) {
		s.bury()
	}
}

func (s *incarnation) bury() {
	w := s.world
	w.server = nil
	w.result.ServerWrites = append(w.result.ServerWrites, s.writes)
	w.trace("server dies", s.number, s.writes)
	if err := s.epoll.Close(); err != nil {
		w.fail(err)
	}
}

// retire ends a drained server in order, for a successor.
func (s *incarnation) retire() {
	w := s.world
	if len(w.disk.running)+len(s.device.queued)+len(s.device.finished) > 0 {
		w.fail(fmt.Errorf("server %d is drained, with operations in its device", s.number))
	}
	w.server = nil
	w.result.Upgrades++
	w.trace("server retires", s.number, s.writes)
	if err := s.epoll.Close(); err != nil {
		w.fail(err)
	}
}

// step is one turn of the server's loop.
func (s *incarnation) step() {
	w := s.world
	switch {
	case s.draining && s.core.Drained():
		s.retire()
		return
	case !s.draining && w.result.Upgrades < w.plan.Upgrades && w.rng.IntN(100) == 0:
		s.draining = true
		s.core.Drain()
	}
	s.run(func() {
		if s.asleep || w.rng.IntN(4) == 0 {
			err := s.epoll.Wait(0, func(token int32) {
				if session := s.sessions.Get(uint64(token)); session != nil {
					s.asleep = false
					s.sessions.Wake(session)
				}
			})
			if err != nil {
				w.fail(err)
			}
		}
		if len(s.device.finished) > 0 {
			s.asleep = false
		}
		if s.asleep {
			return
		}
		worked := s.core.Step(time.Duration(w.now))
		s.sessions.WakeClients()
		if !worked && s.sessions.Cool(uint64(w.now), s.budget) == 0 {
			s.asleep = true
		}
	})
}

// drop takes away the session of a dead client.
func (s *incarnation) drop(c *client) {
	session := s.byClient[c]
	s.asleep = false // whoever tells the loop has woken it
	s.run(func() {
		if err := session.Err(); err != nil && !c.hostile {
			s.world.fail(err)
		}
		s.sessions.Remove(session)
		s.core.RemoveSession(session, func() { c.released = true })
		if err := s.epoll.Remove(c.doorbell); err != nil {
			s.world.fail(err)
		}
	})
}
