package supervisor

import (
	"log/slog"
	"time"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/supervisor/topology"
)

const (
	// drainMax is the time a server gets to finish what it has begun.
	drainMax = 5 * time.Second
	// watchPeriod is the time between two looks at the heartbeats.
	watchPeriod = 250 * time.Millisecond
)

// Phase is what a server is doing.
type Phase string

// The phases of a server.
const (
	PhaseStarting   Phase = "starting"   // no process serves; one is being started
	PhaseRecovering Phase = "recovering" // a process waits for the fence and takes the sessions over
	PhaseServing    Phase = "serving"
	PhaseBackingOff Phase = "backing-off" // it died again and again; see RetryAt
	PhaseStopped    Phase = "stopped"
)

// server is one declared server with the processes that play it: at most one
// active, at most one warm standby. Fields are guarded by Supervisor.mu.
type server struct {
	sup      *Supervisor
	config   topology.Server
	kind     *kind
	service  service
	status   *statusSegment
	sessions map[uint64]*session
	room     room

	active, standby *process
	generation      uint64 // of the process activated last
	activatedAt     time.Time
	diedAt          time.Time // the last active process, as the supervisor saw it
	recoveredAt     time.Time // zero until the active process serves
	servedBefore    uint64    // requests counted when the active process was activated
	standbyReady    bool
	launching       bool
	program         *program // of the processes to be started
	restarting      bool     // restart has not returned

	serving           backoff   // of processes that die without having served
	standing          backoff   // of processes that die before they are ready
	activateAt        time.Time // not before
	launchAt          time.Time // not before
	retryTimer        *time.Timer
	adjusting, adjust bool // setLimits runs; and has something to do

	deaths    uint64 // of active processes, orderly ends included
	kills     uint64 // of hung processes by the supervisor
	starved   uint64 // killed by the kernel for want of memory
	lastDeath string
	pardon    bool     // the last active process was killed from outside
	degraded  []string // measures of the sandbox that this host refuses
	stopping  bool
}

func newServer(sup *Supervisor, config topology.Server) (*server, error) {
	status, err := newStatusSegment(config.Name)
	if err != nil {
		return nil, err
	}
	b := backoff{Backoff: sup.config.Topology.Supervisor.Backoff}
	s := &server{sup: sup, config: config, kind: kinds[config.Kind], program: sup.program, status: status, sessions: make(map[uint64]*session), serving: b, standing: b}
	s.service = s.kind.serve(s)
	return s, nil
}

// processes are those alive.
func (s *server) processes() []*process {
	var all []*process
	for _, p := range []*process{s.active, s.standby} {
		if p != nil {
			all = append(all, p)
		}
	}
	return all
}

// crowded says why the server can be given no new work: one of its processes is
// slow to take what it has been given.
func (s *server) crowded() *broker.Refused {
	for _, p := range s.processes() {
		if n := p.waiting(); n >= s.sup.queueMax {
			return broker.Refuse(broker.CodeLimit, "%d messages wait for server %s already; try again later", n, s.config.Name)
		}
	}
	return nil
}

// ensure starts whatever the server lacks. Everything that changes a server's
// state ends with it. Supervisor.mu is held.
func (s *server) ensure() {
	s.sup.changed.Broadcast()
	if s.stopping {
		return
	}
	if s.active == nil && s.standby != nil && s.due(s.activateAt) {
		s.activate()
	}
	// The next standby is not started while the last one recovers: they would
	// compete for the processor, and recovery is what applications wait for.
	wanted := s.active == nil || s.config.Standby && !s.recoveredAt.IsZero()
	if wanted && s.standby == nil && !s.launching && s.due(s.launchAt) {
		s.launching = true
		go s.launch(s.program, s.memoryLimit())
	}
	s.service.ensure()
}

// due tells whether a time has come, and otherwise arranges for ensure to be
// called again then.
func (s *server) due(at time.Time) bool {
	wait := time.Until(at)
	if wait <= 0 {
		return true
	}
	if s.retryTimer == nil {
		s.retryTimer = time.AfterFunc(wait, s.retry)
	}
	return false
}

func (s *server) retry() {
	s.sup.mu.Lock()
	defer s.sup.mu.Unlock()
	s.retryTimer = nil
	s.ensure()
}

// activate makes the standby the active process. A standby that has not yet
// been told everything gets Activate behind what is still in its queue.
func (s *server) activate() {
	s.active, s.standby = s.standby, nil
	s.standbyReady = false
	s.generation++
	s.activatedAt, s.recoveredAt = time.Now(), time.Time{}
	s.servedBefore = s.status.served()
	s.active.send(&broker.Activate{Generation: s.generation, Pardon: s.pardon}, nil)
	for _, session := range s.sessions {
		session.used = session.used || session.holders[s.active]
		session.continueEnd()
		for _, r := range session.regions {
			r.settle(s.active)
		}
	}
	s.service.activated()
}

// phase tells what the server is doing. Supervisor.mu is held.
func (s *server) phase() Phase {
	switch {
	case s.stopping:
		return PhaseStopped
	case s.active != nil && !s.recoveredAt.IsZero():
		return PhaseServing
	case s.active != nil:
		return PhaseRecovering
	case time.Until(s.retryAt()) > 0:
		return PhaseBackingOff
	}
	return PhaseStarting
}

// retryAt is the time before which nothing can serve.
func (s *server) retryAt() time.Time {
	if s.standby == nil && s.launchAt.After(s.activateAt) {
		return s.launchAt
	}
	return s.activateAt
}

// stop drains the server for good. It returns when its processes have ended.
// Supervisor.mu is held, and released while waiting.
func (s *server) stop() {
	s.stopping = true
	if s.standby != nil {
		s.standby.kill()
	}
	if s.active != nil {
		s.active.send(&broker.Drain{Final: true}, nil)
	}
	late := time.AfterFunc(drainMax, func() {
		s.sup.mu.Lock()
		defer s.sup.mu.Unlock()
		for _, p := range s.processes() {
			p.kill()
		}
	})
	defer late.Stop()
	for len(s.processes()) > 0 || s.launching || s.service.busy() {
		s.sup.changed.Wait()
	}
	s.sup.mu.Unlock()
	s.service.settle(drainMax)
	s.sup.mu.Lock()
	for _, session := range s.sessions {
		if err := session.revoke(ipc.ReasonShutdown); err != nil {
			slog.Error("end a session", "session", session.id, "err", err)
		}
		session.close()
		session.used = false
		if session.dropping != nil {
			session.dropping.fenced = true
			session.continueEnd()
		}
	}
	s.status.close()
}
