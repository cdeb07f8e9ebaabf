// Package testenv is how tests say what they need of the host.
//
// A test that cannot run here is a promise that was not checked, so a skip is
// printed loudly, and QUINTET_NO_SKIP=1 turns every skip into a failure: that
// is how a machine meant to run everything proves that it did.
package testenv

import (
	"errors"
	"fmt"
	"os"
	"testing"
)

// noSkipEnv names the variable that turns skips into failures.
const noSkipEnv = "QUINTET_NO_SKIP"

// skipsEnv names the file to which every skip is added, for the list at the end of
// `make test`: `go test` hides what packages print that pass.
const skipsEnv = "QUINTET_SKIPS"

// Skip ends the test as skipped for the given reason, on standard error as
// well as in the test log, since `go test` hides the log of a skipped test.
// With QUINTET_NO_SKIP=1 it ends it as failed.
func Skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv(noSkipEnv) == "1" {
		t.Fatalf("%s=1 and this host cannot run the test: %s", noSkipEnv, why)
	}
	line := fmt.Sprintf("SKIPPED %s: %s\n", t.Name(), why)
	fmt.Fprint(os.Stderr, line)
	if err := record(line); err != nil {
		t.Fatalf("a skip that nobody would see: %v", err)
	}
	t.Skip(why)
}

func record(line string) error {
	path := os.Getenv(skipsEnv)
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line)
	return errors.Join(err, f.Close())
}

// RequireRoot skips the test unless it runs as root.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Skip(t, "needs root")
	}
}

// RequireEnv skips the test unless the variable is set, for tests too slow for
// every run; the reason says what is then not checked.
func RequireEnv(t testing.TB, name, why string) {
	t.Helper()
	if os.Getenv(name) == "" {
		Skip(t, fmt.Sprintf("set %s=1 to run it: %s", name, why))
	}
}

// Unraced leaves a test to the run without the race detector, which has nothing to see
// where only one goroutine works, or none, and makes it several times longer. `make test`
// makes both runs, so nothing goes untested.
func Unraced(t testing.TB) {
	t.Helper()
	if raced {
		t.Skip("nothing here for the race detector")
	}
}
