package supervisor

import (
	"fmt"
	"log/slog"
)

// chargeStep is the step, in bytes, in which the limit of a server's memory follows
// what is granted to it, always one step ahead.
const chargeStep = 64 << 20

// memoryLimit is what the server's processes may use, in bytes, or 0 for any amount.
// The kernel charges shared memory to whoever touches it first, which for what
// applications let it write to, and for volumes in memory, is the server: all of that
// comes on top of the memory that the topology gives to the server itself.
// Supervisor.mu is held.
func (s *server) memoryLimit() int64 {
	if s.config.Memory == 0 {
		return 0
	}
	limit := s.config.Memory + s.service.resident()
	if len(s.sessions) == 0 {
		return limit
	}
	var charged int64
	for _, session := range s.sessions {
		charged += int64(session.geometry.ClientBytes()) + int64(session.geometry.ServerBytes())
		for _, r := range session.regions {
			charged += r.body.Bytes
		}
	}
	return limit + (charged/chargeStep+2)*chargeStep
}

// adjustMemory has the limits of the server's processes follow what is granted. It is
// called after each change, and does not wait: the limit is a step ahead. Supervisor.mu
// is held.
func (s *server) adjustMemory() {
	if s.config.Memory == 0 {
		return
	}
	s.adjust = true
	if !s.adjusting {
		s.adjusting = true
		go s.setLimits()
	}
}

// setLimits writes limits until they are right. A lower one may make the kernel look
// for memory to take back, so it is written without locks.
func (s *server) setLimits() {
	s.sup.mu.Lock()
	defer s.sup.mu.Unlock()
	for s.adjust {
		s.adjust = false
		limit := s.memoryLimit()
		for _, p := range s.processes() {
			if p.limit == limit {
				continue
			}
			lower := limit < p.limit
			p.limit = limit
			s.sup.mu.Unlock()
			err := p.box.LimitMemory(limit)
			s.sup.mu.Lock()
			if err != nil && !lower && (p == s.active || p == s.standby) { // less than is in use now is refused
				slog.Error("raise the memory limit of a server", "server", s.config.Name, "pid", p.pid, "err", err)
			}
		}
	}
	s.adjusting = false
}

// outOfMemory is how a process ended that the kernel killed for what it used.
func (s *server) outOfMemory(limit int64) string {
	return fmt.Sprintf("killed by the kernel: it used more memory than the %d bytes it may; give the server more with `memory:`", limit)
}
