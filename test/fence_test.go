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
	f, err := os.OpenFile(s.Dir+"/slow.img", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
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
	if err := unix.Unlock(int(f.Fd())); err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}
