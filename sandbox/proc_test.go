package sandbox

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/testenv"
)

const awaitMax = 20 * time.Second

// await polls /proc, which has no way to wait for a change.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(awaitMax); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, awaitMax)
		}
	}
}

func awaitName(t *testing.T, pid int, name string) {
	t.Helper()
	await(t, "process is called "+name, func() bool { return status(t, pid, "Name") == name })
}

func awaitStatus(t *testing.T, pid int, key, value string) {
	t.Helper()
	await(t, key+" is "+value, func() bool { return status(t, pid, key) == value })
}

// requireOwnThreads skips a test in a binary whose threads are not the Go
// runtime's own, so that not every measure can be applied.
func requireOwnThreads(t *testing.T) {
	t.Helper()
	if builtWithCgo {
		testenv.Skip(t, "this test binary was built with cgo, the product is not; run it with CGO_ENABLED=0")
	}
}

// status returns one line of /proc/PID/status.
func status(t *testing.T, pid int, key string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("status of %d has no %s", pid, key)
	return ""
}
