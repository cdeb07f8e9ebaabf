// Package supervisor starts, watches and restarts the servers of one system,
// keeps the memory that must outlive them, and brokers sessions between them
// and applications.
//
// Purpose: any server process may die at any moment, and its clients notice a
// pause. For this the supervisor holds the descriptors of every session (both
// segments, the doorbell, the granted regions) and of every server's status
// segment, runs a warm standby of each server that has been handed all of it,
// and tells the standby to take over when the active process ends. It is not on
// the data path: what passes through it are descriptors, once a session.
//
// Invariants:
//   - At most one process of a server is active. The next is activated only
//     after the kernel has reported the end of the last by its pidfd, and takes
//     the lock of each device before it touches a session: the lock belongs to
//     the dead process's open description, which its device I/O pins.
//   - The supervisor never keeps a descriptor that does I/O on a device; it keeps the
//     name of each image file, and what tells each device from others, and hands no
//     server anything else.
//   - Servers are started from a file that is kept open; only a restart looks at its path.
//   - A session's memory is closed here only after every process that was
//     handed it has let go of it or has ended, and one that has waited for the fence was
//     among those who let go, if any device could write to it.
//   - What one application can make the supervisor keep is bounded:
//     sessionsMax, ipc.RegionsMax, grantedMax, answersMax. What all of them can is
//     bounded by quota.
//
// Locks: Supervisor.mu guards all state of servers, sessions and applications.
// process.mu (one process's queue) is a leaf below it, uplink.looking stands above it.
// Nothing blocks while Supervisor.mu is held, except by waiting on the condition changed.
//
// Strangers' files: what an application passes is looked at and closed without
// Supervisor.mu, and closed by the application's own disposal; processes are started
// from a table of open files that never has it. See docs/decisions/strangers-files.md.
//
// Trust: applications are not trusted at all, their messages and memory are
// checked before use, and one that breaks the protocol loses its connection.
// Servers are trusted to answer; one that breaks the control protocol is killed.
package supervisor

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/sandbox"
)

// Supervisor is a running system.
type Supervisor struct {
	config   Config
	state    *stateDir
	listener *net.UnixListener
	launcher *sandbox.Launcher
	// lockedMax is the limit of locked memory, in bytes.
	lockedMax uint64
	limits    limits         // of each process of a server
	program   *program       // of this process
	reaping   sync.WaitGroup // of server processes, after their end

	mu           sync.Mutex
	changed      *sync.Cond // any change of a server's processes
	servers      []*server
	fabrics      map[string]*fabric
	uplinks      []*uplink
	applications map[*application]bool
	refused      disposal // of connections that were not admitted
	kept         quota
	granted      int64         // bytes, by all applications
	helloMax     time.Duration // helloMax and
	queueMax     int           // queueMax, but for tests
	tokens       map[string]*domain
	lastSession  uint64
	started      time.Time
	ending       bool
	down         context.CancelFunc
	askers       []*os.File // connections of those who wait for the end
}

// New takes the state directory, checks the devices and starts the servers. It
// fails with ErrBusy if another supervisor has the directory, or another process
// a device.
func New(config Config) (*Supervisor, error) {
	state, err := holdStateDir(config.StateDir)
	if err != nil {
		return nil, err
	}
	s := &Supervisor{
		config: config, state: state, started: time.Now(), helloMax: helloMax, queueMax: queueMax,
		applications: make(map[*application]bool), tokens: make(map[string]*domain), fabrics: make(map[string]*fabric),
	}
	s.changed = sync.NewCond(&s.mu)
	if err := s.open(); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Supervisor) open() error {
	t := s.config.Topology
	var err error
	if s.program, err = openProgram(ownProgram); err != nil {
		return err
	}
	for _, config := range t.Servers {
		each, err := newServer(s, config)
		if err != nil {
			return err
		}
		s.servers = append(s.servers, each)
		if err := each.service.prepare(t); err != nil {
			return err
		}
	}
	for _, declared := range t.Uplinks {
		u := &uplink{Uplink: declared, sup: s, program: s.program, retry: backoff{Backoff: t.Supervisor.Backoff}}
		s.uplinks = append(s.uplinks, u)
		if err := u.prepare(t); err != nil {
			return err
		}
	}
	if s.launcher, err = sandbox.NewLauncher(); err != nil {
		return err
	}
	if s.lockedMax, _, err = unix.Limits(unix.LimitLocked); err != nil {
		return fmt.Errorf("read the limit of locked memory: %w", err)
	}
	descriptors, _, err := unix.Limits(unix.LimitDescriptors)
	if err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	s.kept = newQuota(descriptors, uint32(os.Geteuid()))
	if s.limits = s.config.limits; s.limits == (limits{}) {
		if s.limits, err = serverLimits(); err != nil {
			return err
		}
	}
	for _, each := range s.servers {
		each.room = newRoom(each.config.Name, s.limits)
	}
	if err := s.listen(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, each := range s.servers {
		each.ensure()
	}
	for _, each := range s.uplinks {
		each.ensure()
	}
	return nil
}

// WaitServing waits until every server serves and has a warm standby, and every
// uplink has its port.
func (s *Supervisor) WaitServing(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changed.Broadcast()
	})
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		var waiting *server
		for _, each := range s.servers {
			if each.phase() != PhaseServing || each.config.Standby && !each.standbyReady {
				waiting = each
			}
		}
		var missing *uplink
		for _, each := range s.uplinks {
			if !each.serving() {
				missing = each
			}
		}
		switch err := ctx.Err(); {
		case waiting == nil && missing == nil:
			return nil
		case err != nil && waiting != nil:
			return fmt.Errorf("server %s is %s (last death: %s): %w", waiting.config.Name, waiting.phase(), waiting.lastDeath, err)
		case err != nil:
			return fmt.Errorf("uplink %s has no port (%s): %w", missing.Name, missing.why(), err)
		}
		s.changed.Wait()
	}
}

// Close drains and stops all servers, ends all sessions and gives the state
// directory up. Nothing of the system is left when it returns.
func (s *Supervisor) Close() error {
	if s.listener != nil {
		_ = s.listener.Close()
	}
	s.mu.Lock()
	s.ending = true
	for _, each := range s.uplinks {
		each.stop()
	}
	var stopped sync.WaitGroup
	for _, each := range s.servers {
		stopped.Go(func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			each.stop()
		})
	}
	s.mu.Unlock()
	stopped.Wait()
	s.reaping.Wait()
	s.mu.Lock()
	for app := range s.applications {
		go app.leave()
	}
	for len(s.applications) > 0 {
		s.changed.Wait()
	}
	s.mu.Unlock()
	for _, each := range s.servers {
		each.service.close()
	}
	for _, each := range s.uplinks {
		each.close()
	}
	if s.launcher != nil {
		s.launcher.Close()
	}
	err := s.state.release()
	if err != nil {
		slog.Error("release the state directory", "err", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.askers {
		_ = f.Close()
	}
	return err
}

// mayPin tells whether standbys may pin all that is granted without taking from
// what the active servers may lock: without privileges they share one limit.
func (s *Supervisor) mayPin() bool {
	return uint64(s.granted) <= s.lockedMax/2
}

func (s *Supervisor) serverByName(name string) *server {
	for _, each := range s.servers {
		if each.config.Name == name {
			return each
		}
	}
	return nil
}

// peerPidfd watches an application; a nil result means that it has gone.
func peerPidfd(conn *broker.Conn) *unix.Pidfd {
	pidfd, err := unix.PeerPidfd(conn.Socket())
	if err != nil {
		return nil
	}
	return pidfd
}
