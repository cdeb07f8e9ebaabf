package supervisor

import (
	"os"
	"slices"
	"strings"
	"time"

	"github.com/quintet-os/quintet/ipc/broker"
)

// State is the state of the system, as `quintet ps --json` prints it.
type State struct {
	PID          int            `json:"pid"`
	StateDir     string         `json:"state_dir"`
	UptimeS      float64        `json:"uptime_s"`
	Servers      []ServerState  `json:"servers"`
	Applications []AppState     `json:"applications"`
	Networks     []NetworkState `json:"networks,omitempty"`
	Uplinks      []UplinkState  `json:"uplinks,omitempty"`
}

// ServerState is the state of one server.
type ServerState struct {
	Name       string       `json:"name"`
	Phase      Phase        `json:"phase"`
	PID        int          `json:"pid,omitempty"`         // active process
	Standby    bool         `json:"standby"`               // the topology wants one
	StandbyPID int          `json:"standby_pid,omitempty"` // there is one
	Warm       bool         `json:"standby_warm"`          // it has been handed everything
	Release    string       `json:"release,omitempty"`     // of the active process
	Generation uint64       `json:"generation"`
	Deaths     uint64       `json:"deaths"`                  // of active processes
	Hangs      uint64       `json:"hangs"`                   // processes killed because they hung
	Starved    uint64       `json:"out_of_memory,omitempty"` // active processes killed by the kernel for what they used
	Sessions   int          `json:"sessions"`
	Ending     int          `json:"ending_sessions,omitempty"` // they wait for devices
	Volumes    []string     `json:"volumes,omitempty"`
	Lost       []VolumeLoss `json:"lost_volumes,omitempty"`
	Networks   []string     `json:"networks,omitempty"`
	Requests   uint64       `json:"requests"`
	Replayed   uint64       `json:"replayed"`
	ReadB      uint64       `json:"read_bytes"`
	WrittenB   uint64       `json:"written_bytes"`
	Errors     uint64       `json:"errors"`
	RecoveryMS float64      `json:"last_recovery_ms,omitempty"` // activation to service
	RetryInMS  float64      `json:"retry_in_ms,omitempty"`      // while backing off
	LastDeath  string       `json:"last_death,omitempty"`
	Degraded   []string     `json:"sandbox_degraded,omitempty"`
}

// VolumeLoss says why a process of a server does not have a volume.
type VolumeLoss struct {
	Volume string `json:"volume"`
	PID    int    `json:"pid"` // of the process; the volume is not served if it is the active one
	Reason string `json:"reason"`
}

// AppState is the state of one application.
type AppState struct {
	Name     string `json:"name"`
	PID      int    `json:"pid"`
	UID      uint32 `json:"uid"`
	Sessions int    `json:"sessions"`
	GrantedB int64  `json:"granted_bytes"`
	Failed   int    `json:"failed_sessions,omitempty"`
}

// State returns the state of the system.
func (s *Supervisor) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stateLocked()
}

func (s *Supervisor) stateLocked() State {
	state := State{
		PID: os.Getpid(), StateDir: s.state.path, UptimeS: time.Since(s.started).Seconds(),
		Servers: []ServerState{}, Applications: []AppState{},
	}
	for _, each := range s.servers {
		of := each.state()
		each.service.state(&of, &state)
		state.Servers = append(state.Servers, of)
	}
	for _, each := range s.uplinks {
		state.Uplinks = append(state.Uplinks, each.state())
	}
	for app := range s.applications {
		if len(app.sessions) == 0 || app.uplink != nil {
			continue
		}
		each := AppState{Name: app.name, PID: app.peer.PID, UID: app.peer.UID, Sessions: len(app.sessions), GrantedB: app.granted}
		for _, session := range app.sessions {
			if session.failed != "" {
				each.Failed++
			}
		}
		state.Applications = append(state.Applications, each)
	}
	slices.SortFunc(state.Applications, func(a, b AppState) int { return a.PID - b.PID })
	return state
}

func (s *server) state() ServerState {
	state := ServerState{
		Name: s.config.Name, Phase: s.phase(), Generation: s.generation, Deaths: s.deaths, Hangs: s.kills, Starved: s.starved,
		Sessions: len(s.sessions), Standby: s.config.Standby, LastDeath: s.lastDeath, Degraded: s.degraded,
		Requests: s.status.Count(broker.CountRequests), Replayed: s.status.Count(broker.CountReplayed),
		ReadB: s.status.Count(broker.CountRead), WrittenB: s.status.Count(broker.CountWritten),
		Errors: s.status.Count(broker.CountErrors),
	}
	for _, session := range s.sessions {
		if session.dropping != nil {
			state.Ending++
		}
	}
	if s.active != nil {
		state.PID, state.Release = s.active.pid, s.active.program.release
	}
	if s.standby != nil {
		state.StandbyPID, state.Warm = s.standby.pid, s.standbyReady
	}
	if !s.recoveredAt.IsZero() {
		state.RecoveryMS = float64(s.recoveredAt.Sub(s.activatedAt).Microseconds()) / 1000
	}
	if state.Phase == PhaseBackingOff {
		state.RetryInMS = float64(time.Until(s.retryAt()).Microseconds()) / 1000
	}
	return state
}

func (s *Supervisor) serverNames() string {
	var names []string
	for _, each := range s.servers {
		names = append(names, each.config.Name)
	}
	for _, each := range s.uplinks {
		names = append(names, each.Name)
	}
	return strings.Join(names, ", ")
}
