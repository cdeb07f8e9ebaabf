package ipc

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/internal/unix"
)

// A client that waits finds out whether its server is on its processor, and
// both go on when one of them moves.
func TestSidesKnowWhetherTheyShareAProcessor(t *testing.T) {
	allowed, err := unix.ThreadAffinity()
	if err != nil {
		t.Fatal(err)
	}
	cpus := allowed.CPUs()
	if len(cpus) < 2 {
		testenv.Skip(t, "one processor: nowhere to move to")
	}
	p := newPair(t, Geometry{Slots: 4})
	runtime.LockOSThread() // a thread that was bound is not given back
	if err := unix.OneCPU(cpus[0]).Set(); err != nil {
		t.Fatal(err)
	}
	set := NewSessions()
	l, err := NewLoop(LoopConfig{Core: &echo{set}, Sessions: set, Spin: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Add(p.session); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	bind := func(cpu int) func() {
		return func() {
			if err := unix.OneCPU(cpu).Set(); err != nil {
				t.Error(err)
			}
		}
	}
	l.Post(bind(cpus[0]))
	go func() {
		done <- l.Run(ctx)
		runtime.LockOSThread()
	}()
	callUntil := func(beside bool) {
		t.Helper()
		for p.client.settle() != beside {
			var reply Words
			if err := p.client.Call(ctx, &Words{41}, &reply); err != nil || reply[0] != 42 {
				t.Fatalf("reply %d, %v", reply[0], err)
			}
		}
	}
	callUntil(true)
	l.Post(bind(cpus[1]))
	callUntil(false)
	l.Post(bind(cpus[0]))
	callUntil(true)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
