package linktest

import (
	"errors"
	"testing"
	"time"

	"github.com/quintet-os/quintet/network/link"
)

func timeLimit() time.Time { return time.Now().Add(patience) }

// failure sends and receives until there is an error.
func failure(s *System) error {
	var frames [link.BatchMax]link.Frame
	for deadline := timeLimit(); time.Now().Before(deadline); {
		if _, err := s.Link.Transmit([]link.Frame{stray()}); err != nil {
			return err
		}
		if _, err := s.Link.Receive(frames[:]); err != nil {
			return err
		}
	}
	return errPatience
}

// stray is a frame that no test waits for.
func stray() link.Frame {
	f := Plain(Inside, 0, 60)
	f.Head[plainNumber-1]++
	return f
}

// downAndUp: an interface that is down says so, and works again afterwards.
func downAndUp(t *testing.T, s *System) {
	if err := s.Down(); err != nil {
		t.Fatal(err)
	}
	var typed *link.Error
	if err := failure(s); !errors.Is(err, link.KindDown) || !errors.As(err, &typed) {
		t.Fatalf("down: %v", err)
	}
	if err := s.Up(); err != nil {
		t.Fatal(err)
	}
	for deadline := timeLimit(); ; {
		_, err := s.Link.Transmit([]link.Frame{stray()})
		if err == nil {
			break
		}
		if !errors.Is(err, link.KindDown) || time.Now().After(deadline) {
			t.Fatalf("up again: %v", err)
		}
	}
	// The other end may have noticed too, and says so once.
	if _, err := s.peer.Receive(make([]link.Frame, 1)); err != nil && !errors.Is(err, link.KindDown) {
		t.Fatal(err)
	}
	stream(t, s.Link, s.peer, Inside, s.Link.Info().MTU)
}

// gone: an interface that has been removed says so, again and again.
func gone(t *testing.T, s *System) {
	if err := s.Remove(); err != nil {
		t.Fatal(err)
	}
	deadline := timeLimit()
	for range 3 {
		err := failure(s)
		for errors.Is(err, link.KindDown) && time.Now().Before(deadline) {
			err = failure(s)
		}
		if !errors.Is(err, link.KindGone) {
			t.Fatalf("removed: %v", err)
		}
	}
}
