package testenv

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// recorder stands in for the *testing.T under test: only what Skip calls.
type recorder struct {
	testing.TB
	skipped, failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Name() string          { return "recorded" }
func (r *recorder) Skip(...any)           { r.skipped = true; runtime.Goexit() }
func (r *recorder) Fatalf(string, ...any) { r.failed = true; runtime.Goexit() }

func (r *recorder) run(f func(testing.TB)) *recorder {
	done := make(chan struct{})
	go func() { defer close(done); f(r) }()
	<-done
	return r
}

func TestSkip(t *testing.T) {
	skip := func(tb testing.TB) { Skip(tb, "because") }
	t.Setenv(noSkipEnv, "")
	skips := filepath.Join(t.TempDir(), "skips")
	t.Setenv(skipsEnv, skips)
	if r := new(recorder).run(skip); !r.skipped || r.failed {
		t.Errorf("without %s: %+v, want skipped", noSkipEnv, r)
	}
	if text, err := os.ReadFile(skips); string(text) != "SKIPPED recorded: because\n" {
		t.Errorf("recorded: %q, %v", text, err)
	}
	t.Setenv(noSkipEnv, "1")
	if r := new(recorder).run(skip); r.skipped || !r.failed {
		t.Errorf("with %s=1: %+v, want failed", noSkipEnv, r)
	}
}
