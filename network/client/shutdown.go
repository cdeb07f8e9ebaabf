package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

const (
	// orphanMax is how long a closed connection may go on without an answer from its
	// peer, in the background.
	orphanMax = 2 * time.Minute
	// shutdownMax is how long Close waits for peers to take what was written, and
	// shutdownQuiet how long it does so without hearing of any of them.
	shutdownMax   = time.Minute
	shutdownQuiet = 10 * time.Second

	// farewellMax is how long the last frames of a stack may wait for a server.
	farewellMax = 200 * time.Millisecond

	// Intervals between two looks whether peers have taken everything.
	settleMin, settleMax = time.Millisecond, 50 * time.Millisecond
)

// ErrUndelivered: peers had not acknowledged all that was written when the time for it
// was over; their connections were reset.
var ErrUndelivered = errors.New("not all that was written has been delivered")

// errQuiet: nothing has come from any peer for shutdownQuiet.
var errQuiet = fmt.Errorf("no peer has answered for %v", shutdownQuiet)

// enter lists a socket until it is closed.
func (s *Stack) enter(key *socket, c io.Closer) {
	s.mu.Lock()
	s.sockets[key] = c
	s.mu.Unlock()
}

func (s *Stack) leave(key *socket) {
	s.mu.Lock()
	delete(s.sockets, key)
	s.mu.Unlock()
}

// Shutdown closes all sockets as their own Close does, waits until the peers have
// acknowledged all that was written, and ends the link. When ctx ends before, the
// connections that are left are reset, and the error is ErrUndelivered.
func (s *Stack) Shutdown(ctx context.Context) error {
	return s.finish(func(done func() bool) error { return s.settle(ctx, done) })
}

// Close is Shutdown that waits shutdownMax at most, and no longer than shutdownQuiet
// when nothing comes from any peer. Without it, or Shutdown, before the program ends,
// what peers have not acknowledged by then is lost, and the switch resets their
// connections.
func (s *Stack) Close() error {
	return s.finish(func(done func() bool) error {
		ctx, cancel := context.WithTimeoutCause(context.Background(), shutdownMax, fmt.Errorf("%v have passed", shutdownMax))
		defer cancel()
		quiet := time.AfterFunc(shutdownQuiet, cancel)
		defer quiet.Stop()
		heard := s.heard()
		err := s.settle(ctx, func() bool {
			if now := s.heard(); now != heard {
				heard = now
				quiet.Reset(shutdownQuiet)
			}
			return done()
		})
		if errors.Is(err, context.Canceled) {
			err = errQuiet
		}
		return err
	})
}

// heard counts the segments that have come.
func (s *Stack) heard() uint64 { return s.stack.Stats().TCP.ValidSegmentsReceived.Value() }

func (s *Stack) finish(settle func(done func() bool) error) error {
	s.mu.Lock()
	var open []io.Closer
	for _, c := range s.sockets {
		open = append(open, c)
	}
	s.mu.Unlock()
	for _, c := range open {
		_ = c.Close() // somebody else may have, by now
	}
	err := settle(s.delivered)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrUndelivered, err)
	}
	return errors.Join(err, s.Abort())
}

// delivered tells whether that is so of all connections.
func (s *Stack) delivered() bool {
	for _, e := range append(s.stack.RegisteredEndpoints(), s.stack.CleanupEndpoints()...) {
		if c, ok := e.(*tcp.Endpoint); ok && !delivered(c) {
			return false
		}
	}
	return true
}

// settle waits until done, or the link ends, which leaves nothing to wait for, or ctx.
func (s *Stack) settle(ctx context.Context, done func() bool) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for wait := settleMin; !done(); wait = min(2*wait, settleMax) {
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-s.link.ended:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Abort resets all connections and ends the port's session. It waits, for farewellMax at
// most, until the server has taken the resets: a port that has gone sends nothing more,
// and its peers would wait for it.
func (s *Stack) Abort() error {
	s.stack.Close()
	ctx, cancel := context.WithTimeout(context.Background(), farewellMax)
	_ = s.settle(ctx, s.link.sent) // a server that is dead takes nothing
	cancel()
	s.link.close()
	s.stack.Wait()
	err := s.link.port.Close()
	runtime.KeepAlive(s)
	return err
}
