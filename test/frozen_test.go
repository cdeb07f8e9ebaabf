package test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/supervisor"
)

// freezable mounts a new file system whose writes stand still between freeze
// and thaw.
func freezable(t *testing.T) (dir string, freeze, thaw func()) {
	t.Helper()
	testenv.RequireRoot(t)
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		testenv.Skip(t, err.Error())
	}
	base := shortDir(t)
	image, dir := filepath.Join(base, "image"), filepath.Join(base, "mounted")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 32<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	do := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	do("/usr/sbin/mkfs.ext4", "-q", "-F", image)
	do("mount", "-o", "loop", image, dir)
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() { do("umount", dir) })
	return dir, func() { do("/usr/sbin/fsfreeze", "--freeze", dir) }, func() { do("/usr/sbin/fsfreeze", "--unfreeze", dir) }
}

// TestCloseWaitsForSlowDevice: a session is closed whose I/O takes longer than a
// server may hang. The close waits for it, the server lives and serves others.
func TestCloseWaitsForSlowDevice(t *testing.T) {
	const hang = time.Second
	dir, freeze, thaw := freezable(t)
	s := Up(t, program, fmt.Sprintf(`version: 1
supervisor: {heartbeat_timeout: %v}
servers: {store: {kind: storage}}
volumes:
  quick: {server: store, file: quick.img, size: 16MiB, create: true}
  slow: {server: store, file: %q, size: 16MiB, create: true}
applications: {test: {volumes: {quick: rw, slow: rw}}}
`, hang, filepath.Join(dir, "slow.img")))
	a := s.Connect()
	quick, slow := s.Volume(a, "quick"), s.Volume(a, "slow")
	block := make([]byte, loadBlock)
	before := s.Server("store")

	freeze()
	thawed := false
	defer func() {
		if !thawed {
			thaw()
		}
	}()
	go func() { _, _ = slow.WriteAt(block, 0) }() // fails when the session is closed
	s.Until("the write is in flight", func(*supervisor.State) bool { return slow.Inspect().InFlight > 0 })
	// The server takes requests of all sessions in turn: after these it has it.
	for i := range 100 {
		if _, err := quick.WriteAt(block, int64(i)*loadBlock); err != nil {
			t.Fatal(err)
		}
	}
	closed := make(chan error, 1)
	go func() { closed <- slow.Close() }()
	began, err := s.State()
	if err != nil {
		t.Fatal(err)
	}
	s.Until("it lasts longer than a hang may", func(state *supervisor.State) bool {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if _, err := quick.Write(ctx, block, 0, 0); err != nil {
			t.Fatalf("the other volume meanwhile: %v", err)
		}
		return state.UptimeS > began.UptimeS+(3*hang).Seconds()
	})
	select {
	case err := <-closed:
		t.Errorf("the close has not waited for the device: %v", err)
	default:
	}
	thawed = true
	thaw()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	after := s.Server("store")
	if after.Generation != before.Generation || after.PID != before.PID || after.Hangs != 0 {
		t.Errorf("the server was pid %d of generation %d, now it is pid %d of generation %d; %d were killed as hung",
			before.PID, before.Generation, after.PID, after.Generation, after.Hangs)
	}
}
