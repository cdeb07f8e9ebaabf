package test

import (
	"os"
	"testing"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/supervisor"
)

// TestSlowDeviceDelaysOnlyItsOwnClients: after a death one device does not let
// go, as if the dead server's last write were still on its way to it. The
// server's other volume is served meanwhile.
func TestSlowDeviceDelaysOnlyItsOwnClients(t *testing.T) {
	s := Up(t, program, `version: 1
servers: {store: {kind: storage}}
volumes:
  quick: {server: store, file: quick.img, size: 16MiB, create: true}
  slow: {server: store, file: slow.img, size: 16MiB, create: true}
applications: {test: {volumes: {quick: rw, slow: rw}}}
`)
	a := s.Connect()
	quick, slow := s.Volume(a, "quick"), s.Volume(a, "slow")
	release := holdFence(s, "slow.img")

	written := make(chan error, 1)
	go func() {
		_, err := slow.WriteAt(make([]byte, loadBlock), 0)
		written <- err
	}()
	for i := range 100 {
		if _, err := quick.WriteAt(make([]byte, loadBlock), int64(i)*loadBlock); err != nil {
			t.Fatal(err)
		}
	}
	late, err := a.Volume(t.Context(), "quick")
	if err != nil {
		t.Fatalf("a new session meanwhile: %v", err)
	}
	if err := late.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-written:
		t.Fatalf("a write to the slow device has not waited for the fence: %v", err)
	default:
	}
	release()
	if err := <-written; err != nil {
		t.Error(err)
	}
}

// TestEndWaitsForTheFence: a session that ends while a device does not let go stays
// until it does, whichever servers die meanwhile: the device may still write into the
// client's memory.
func TestEndWaitsForTheFence(t *testing.T) {
	s := Up(t, program, `version: 1
servers: {store: {kind: storage}}
volumes:
  quick: {server: store, file: quick.img, size: 16MiB, create: true}
  slow: {server: store, file: slow.img, size: 16MiB, create: true}
applications: {test: {volumes: {quick: rw, slow: rw}}}
`)
	a := s.Connect()
	slow := s.Volume(a, "slow")
	release := holdFence(s, "slow.img")
	closed := make(chan error, 1)
	go func() { closed <- slow.Close() }()
	s.Until("the session is being ended", func(state *supervisor.State) bool { return state.Servers[0].Ending == 1 })
	for range 2 {
		generation := s.Server("store").Generation
		s.KillServer("store")
		s.Until("another process waits for the device", func(state *supervisor.State) bool {
			return state.Servers[0].Generation > generation && state.Servers[0].Phase == supervisor.PhaseRecovering
		})
	}
	// An answer that had been given would have come before this one.
	other, err := a.Volume(t.Context(), "quick")
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-closed:
		t.Fatalf("the end of a session has not waited for the fence: %v", err)
	default:
	}
	release()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
}

// holdFence kills the server "store" until the test holds the lock of one of its
// devices and the server's next process waits for it. release ends that.
func holdFence(s *System, image string) (release func()) {
	t := s.t
	t.Helper()
	f, err := os.OpenFile(s.Dir+"/"+image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	locked := make(chan error, 1)
	go func() { locked <- unix.LockExclusive(int(f.Fd())) }()
	held := false
	s.Until("the slow device is held by the test and its server waits", func(state *supervisor.State) bool {
		select {
		case err := <-locked:
			if err != nil {
				t.Fatal(err)
			}
			held = true
		default:
		}
		if !held && state.Servers[0].Phase == supervisor.PhaseServing && state.Servers[0].Warm {
			s.KillServer("store") // either the test or the successor is quicker
		}
		return held && state.Servers[0].Phase == supervisor.PhaseRecovering
	})
	return func() {
		if err := unix.Unlock(int(f.Fd())); err != nil {
			t.Fatal(err)
		}
	}
}
