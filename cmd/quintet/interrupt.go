package main

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
)

// interrupted is the end of a command by a signal.
type interrupted struct{ by syscall.Signal }

func (i interrupted) Error() string { return "ended by a signal: " + i.by.String() }

// signals takes those that ask this process to end, from its start on: none is lost
// between two that want them. They end a context, or go to a program while there is one.
type signals struct {
	coming  chan os.Signal
	typed   bool        // a terminal sends those of its keys to the program too
	running atomic.Bool // there is a program

	mu      sync.Mutex // guards the following; held while a program is started
	program *exec.Cmd  // nil: there is none
	cancel  context.CancelCauseFunc
}

// takeSignals returns the signals of this process, and a context that they end.
func takeSignals() (*signals, context.Context) {
	ctx, cancel := context.WithCancelCause(context.Background())
	s := &signals{coming: make(chan os.Signal, 8), typed: terminal(os.Stdin), cancel: cancel}
	signal.Notify(s.coming, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go s.pass()
	return s, ctx
}

func (s *signals) pass() {
	for each := range s.coming {
		// While the program is being started it may not have been in the terminal's
		// group when a key was pressed: better twice than never.
		reached := s.running.Load() && s.typed && (each == os.Interrupt || each == syscall.SIGQUIT)
		s.mu.Lock()
		switch {
		case s.program == nil && (each == syscall.SIGUSR1 || each == syscall.SIGUSR2):
		case s.program == nil:
			s.cancel(interrupted{each.(syscall.Signal)})
		case !reached:
			_ = s.program.Process.Signal(each) // it may have ended
		}
		s.mu.Unlock()
	}
}

// start starts a program that gets the signals from now on, unless one has come
// before, which is the error then.
func (s *signals) start(ctx context.Context, program *exec.Cmd, start func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	signal.Notify(s.coming, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	if err := start(); err != nil {
		return err
	}
	s.program = program
	s.running.Store(true)
	return nil
}

// ended returns a context that the signals end from now on, since the program has.
func (s *signals) ended() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	s.running.Store(false)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.program, s.cancel = nil, cancel
	return ctx
}
