package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
)

// TestSlowOpen: a device that takes long to open holds up nobody. It is a FIFO
// here, put in the place of the file: opening it ends when somebody writes to
// it, which the test does while it holds the supervisor's lock.
func TestSlowOpen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "image")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startWith(t, fmt.Sprintf(`version: 1
servers: {store: {kind: storage}}
volumes: {data: {server: store, file: %q, read_only: true}}
applications: {test: {volumes: {data: ro}}}
`, path))
	store := s.servers[0]
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := unix.MakeFIFO(path, 0o600); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	store.standby.kill()
	for !store.launching {
		s.changed.Wait()
	}
	opened := make(chan error, 1)
	go func() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			err = f.Close()
		}
		opened <- err
	}()
	select {
	case err := <-opened:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("the device is not opened while the lock is held")
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Error(err)
	}
	s.mu.Unlock()
	wait(t, s) // the process that was handed a FIFO ends, the next one does not
	if deaths := s.State().Servers[0].Deaths; deaths != 0 {
		t.Errorf("the active server died %d times", deaths)
	}
}
