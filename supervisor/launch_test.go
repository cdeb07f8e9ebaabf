package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestSlowOpen: a device that takes long to open holds up nobody: it is opened while
// the test holds the supervisor's lock.
func TestSlowOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startWith(t, fmt.Sprintf(`version: 1
servers: {store: {kind: storage}}
volumes: {data: {server: store, file: %q, read_only: true}}
applications: {test: {volumes: {data: ro}}}
`, path))
	store := s.servers[0]
	opened := make(chan struct{}, 8)
	s.mu.Lock()
	store.service.(*volumes).all[0].openFile = func(path string, flags int, mode os.FileMode) (*os.File, error) {
		opened <- struct{}{}
		return os.OpenFile(path, flags, mode)
	}
	store.standby.kill()
	for !store.launching {
		s.changed.Wait()
	}
	select {
	case <-opened:
	case <-time.After(patience):
		t.Error("the device is not opened while the lock is held")
	}
	s.mu.Unlock()
	wait(t, s)
	if deaths := s.State().Servers[0].Deaths; deaths != 0 {
		t.Errorf("the active server died %d times", deaths)
	}
}
