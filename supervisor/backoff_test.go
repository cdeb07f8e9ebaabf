package supervisor

import (
	"testing"
	"time"

	"github.com/quintet-os/quintet/supervisor/topology"
)

func TestBackoff(t *testing.T) {
	b := backoff{Backoff: topology.Backoff{First: 10 * time.Millisecond, Limit: 50 * time.Millisecond}}
	for i, want := range []time.Duration{0, 10, 20, 40, 50, 50, 50} {
		if got := b.failed(); got != want*time.Millisecond {
			t.Errorf("death %d in a row: %v, want %v", i+1, got, want*time.Millisecond)
		}
	}
	b.progressed()
	if got := b.failed(); got != 0 {
		t.Errorf("first death after progress: %v", got)
	}
}

func TestBackoffNeverOverflows(t *testing.T) {
	b := backoff{Backoff: topology.Backoff{First: time.Second, Limit: time.Minute}}
	for range 10_000 {
		if d := b.failed(); d < 0 || d > time.Minute {
			t.Fatalf("a delay of %v after %d deaths", d, b.failures)
		}
	}
}
