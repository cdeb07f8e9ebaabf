package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc/broker"
)

// listen makes the control socket. One that a killed supervisor left is removed:
// the lock says that its owner is gone.
func (s *Supervisor) listen() error {
	path := broker.SocketPath(s.state.path)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the socket of an earlier supervisor: %w", err)
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return fmt.Errorf("listen for applications: %w; a shorter --state may help, socket paths have at most 107 bytes", err)
	}
	// Accepted connections inherit it: who has not greeted cannot make closing the
	// connection wait for what it has put into it.
	if err := unix.PassDescriptors(l, false); err != nil {
		_ = l.Close()
		return fmt.Errorf("keep descriptors out of connections: %w", err)
	}
	if err := os.Chmod(path, socketMode(s.config.Topology)); err != nil {
		_ = l.Close()
		return fmt.Errorf("set the mode of the control socket: %w", err)
	}
	s.listener = l
	return nil
}

// Run accepts applications and watches the servers until ctx ends or a client
// asks for the end of the system.
func (s *Supervisor) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	s.down = cancel
	s.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { _ = s.listener.Close() })
	defer stop()
	go s.watchBeats(ctx)
	if slices.ContainsFunc(s.uplinks, func(u *uplink) bool { return u.Interface != "" }) {
		go s.watchInterfaces(ctx)
	}
	for {
		conn, err := s.listener.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if !scarce(err) {
				return fmt.Errorf("accept applications: %w", err)
			}
			slog.Error("accept an application; raise the limit of open files, or end applications that hold many sessions", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(scarcePause):
			}
			continue
		}
		s.admit(broker.NewApplicationConn(conn))
	}
}

// scarcePause is the time between two attempts to accept an application while
// the system has no descriptors or memory for it.
const scarcePause = 100 * time.Millisecond

// scarce tells whether accept failed for want of something that those who are
// connected will give back: no reason to end the system.
func scarce(err error) bool {
	for _, want := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, want) {
			return true
		}
	}
	return false
}
