package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// The test binary is also the sandboxed program: with childEnv set it does
// what the named entry of children says and ends. withoutEnv lists measures that
// the child leaves out, so that a test shows what the others do by themselves.
const (
	childEnv   = "QUINTET_TEST_CHILD"
	withoutEnv = "QUINTET_TEST_WITHOUT"
)

var children = map[string]func(Report) any{
	"report":      func(r Report) any { return r },
	"attempt":     attemptChild,
	"sweep":       sweepChild,
	"victim":      victimChild,
	"wait":        waitChild,
	"spawn":       spawnChild,
	"hog":         hogChild,
	"descriptors": descriptorsChild,
}

func TestMain(m *testing.M) {
	name := os.Getenv(childEnv)
	if name == "" {
		os.Exit(m.Run())
	}
	var report Report
	if os.Getenv(launchEnv) != "" {
		l, err := received()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		without := strings.Split(os.Getenv(withoutEnv), ",")
		report = l.apply(slices.DeleteFunc(l.steps(), func(s step) bool { return slices.Contains(without, s.name) }))
	}
	if err := json.NewEncoder(os.Stdout).Encode(children[name](report)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(4)
	}
	os.Exit(0)
}

func newLauncher(t testing.TB) *Launcher {
	t.Helper()
	l, err := NewLauncher()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// start runs a child in a sandbox. Its output is read through the function
// returned, which waits for its end.
func start(t testing.TB, l *Launcher, child string, calls Calls, env []string, files ...*os.File) (*Process, func() (string, *os.ProcessState)) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.Start(Spec{
		Path: "/proc/self/exe", Args: []string{"-test.run=^$"}, Env: append(env, childEnv+"="+child),
		Files: files, Stderr: w, Profile: Profile{Name: "quintet-" + child, Calls: calls, Rings: 1},
	})
	w.Close()
	if err != nil {
		r.Close()
		t.Fatal(err)
	}
	return p, func() (string, *os.ProcessState) {
		t.Helper()
		defer r.Close()
		if err := r.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if _, err := out.ReadFrom(r); err != nil {
			t.Fatalf("child %s: %v; output so far: %s", child, err, out.String())
		}
		state, err := p.Reap()
		if err != nil {
			t.Fatal(err)
		}
		return out.String(), state
	}
}

// run runs a child to its end and decodes what it answered.
func run(t testing.TB, l *Launcher, child string, calls Calls, env []string, answer any, files ...*os.File) {
	t.Helper()
	_, wait := start(t, l, child, calls, env, files...)
	out, state := wait()
	if !state.Success() {
		t.Fatalf("child %s: %v\n%s", child, state, out)
	}
	if err := json.Unmarshal([]byte(out), answer); err != nil {
		t.Fatalf("child %s: %v in %q", child, err, out)
	}
}
