package test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/storage"
)

func itoa(n int) string { return strconv.Itoa(n) }

// TestShutdownLeavesNothing: no process, no socket, no mount, and nothing held once
// `quintet down` has returned; and applications are told.
func TestShutdownLeavesNothing(t *testing.T) {
	mounts := emptyMounts(t)
	s := Up(t, program, oneServer)
	v := s.Volume(s.Connect(), "data")
	if _, err := v.WriteAt(make([]byte, loadBlock), 0); err != nil {
		t.Fatal(err)
	}
	server := s.Server("store")
	if out, err := exec.Command(program, "down", "--state", s.Dir).CombinedOutput(); err != nil {
		t.Fatalf("quintet down: %v: %s", err, out)
	}
	if lock, err := os.Open(filepath.Join(s.Dir, "lock")); err != nil {
		t.Error(err)
	} else if free, err := unix.TryLockExclusive(int(lock.Fd())); !free || err != nil {
		t.Errorf("`quintet down` has returned, and the state directory is in use still (%v)", err)
	} else {
		lock.Close()
	}
	<-s.done
	if s.err != nil {
		t.Errorf("the supervisor ended with %v", s.err)
	}
	for _, pid := range []int{server.PID, server.StandbyPID} {
		if process, err := unix.OpenPidfd(pid); err == nil {
			process.Close()
			t.Errorf("process %d is still there", pid)
		}
	}
	if _, err := os.Stat(s.Socket()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if after := emptyMounts(t); after != mounts {
		t.Errorf("mounts before:\n%s\nafter:\n%s", mounts, after)
	}
	if _, err := v.WriteAt(make([]byte, loadBlock), 0); !errors.Is(err, storage.KindClosed) {
		t.Errorf("a write after the end: %v", err)
	}
}

// emptyMounts lists the mounts of the kind a sandbox makes; others come and go
// with whatever else the host does.
func emptyMounts(t *testing.T) string {
	t.Helper()
	all, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	var found strings.Builder
	for line := range strings.Lines(string(all)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == "tmpfs" {
			found.WriteString(line)
		}
	}
	return found.String()
}

// TestUnprivileged runs the demonstration as a user without any rights.
func TestUnprivileged(t *testing.T) {
	testenv.RequireRoot(t)
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		testenv.Skip(t, "needs setpriv (Debian package util-linux)")
	}
	tree := t.TempDir()
	for i := range 20 {
		text := strings.Repeat("line "+itoa(i)+"\n", 1000*i)
		if err := os.WriteFile(filepath.Join(tree, "file"+itoa(i)), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for dir := tree; dir != os.TempDir() && len(dir) > 1; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(setpriv, "--reuid=65534", "--regid=65534", "--clear-groups",
		program, "demo", "--json", "--duration", "1s", "--input", tree).CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	for _, want := range []string{`"lost":0`, `"duplicated":0`, `"mismatched":0`, `"connections":16`, `"connections_dropped":0`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it does not say %s:\n%s", want, out)
		}
	}
}
