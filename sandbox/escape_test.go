package sandbox

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/unix/probe"
)

const (
	targetEnv  = "QUINTET_TEST_TARGET"
	attemptEnv = "QUINTET_TEST_ATTEMPT"
	reached    = "reached"
)

// attemptChild makes one attempt and says how it went.
func attemptChild(Report) any {
	var target probe.Target
	if err := json.Unmarshal([]byte(os.Getenv(targetEnv)), &target); err != nil {
		return err.Error()
	}
	for _, a := range probe.All() {
		if a.Name == os.Getenv(attemptEnv) {
			if err := a.Do(target); err != nil {
				return err.Error()
			}
			return reached
		}
	}
	return "no such attempt"
}

// victimChild tells where in its memory there is something to read, and lives
// until its standard input ends.
func victimChild(Report) any {
	address, err := probe.Expose()
	if err != nil {
		return err.Error()
	}
	fmt.Println(address)
	_, _ = os.Stdin.Read(make([]byte, 1))
	return nil
}

// newTarget sets up what the attempts aim at, open to every user.
func newTarget(t *testing.T) probe.Target {
	t.Helper()
	directory, err := os.MkdirTemp("", "quintet-sandbox-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	target := probe.Target{
		Directory: directory,
		File:      filepath.Join(directory, "secret"),
		Socket:    filepath.Join(directory, "socket"),
		Abstract:  "@" + filepath.Base(directory),
	}
	if err := errors.Join(os.WriteFile(target.File, []byte("secret"), 0o644), os.Chmod(directory, 0o777)); err != nil {
		t.Fatal(err)
	}
	for network, address := range map[string]string{"unix": target.Socket, "unix ": target.Abstract, "tcp": "127.0.0.1:0"} {
		listener, err := net.Listen(strings.TrimSpace(network), address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		if tcp, ok := listener.Addr().(*net.TCPAddr); ok {
			target.Port = tcp.Port
		}
	}
	if err := os.Chmod(target.Socket, 0o777); err != nil {
		t.Fatal(err)
	}

	victim := exec.Command("/proc/self/exe")
	victim.Env = []string{childEnv + "=victim"}
	in, err := victim.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = victim.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(line, &target.Address); err != nil {
		t.Fatalf("victim: %v: %s", err, line)
	}
	target.Pid = victim.Process.Pid
	return target
}

func attemptEnvironment(t *testing.T, target probe.Target, a probe.Attempt, without string) []string {
	t.Helper()
	text, err := json.Marshal(target)
	if err != nil {
		t.Fatal(err)
	}
	return []string{targetEnv + "=" + string(text), attemptEnv + "=" + a.Name, withoutEnv + "=" + without}
}

// outside makes the attempt in an ordinary process.
func outside(t *testing.T, target probe.Target, a probe.Attempt) string {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(attemptEnvironment(t, target, a, ""), childEnv+"=attempt")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.Trim(string(out), "\"\n")
}

// inside makes it in a sandbox that lacks the named measures.
func inside(t *testing.T, l *Launcher, target probe.Target, a probe.Attempt, without string) string {
	t.Helper()
	return insideOf(t, l, StorageCalls, target, a, without)
}

// insideOf makes it in a sandbox with a set of calls.
func insideOf(t *testing.T, l *Launcher, calls Calls, target probe.Target, a probe.Attempt, without string) string {
	t.Helper()
	_, wait := start(t, l, "attempt", calls, attemptEnvironment(t, target, a, without))
	out, state := wait()
	if status := state.Sys().(syscall.WaitStatus); status.Signaled() && status.Signal() == syscall.SIGSYS {
		return "killed"
	}
	if !state.Success() {
		t.Fatalf("%v: %s", state, out)
	}
	return strings.Trim(out, "\"\n")
}

// TestNothingIsReachable makes every attempt outside, where it must succeed, in
// the whole sandbox, where it must fail, and in sandboxes that lack layers, to
// show that the remaining ones stop it by themselves.
func TestNothingIsReachable(t *testing.T) {
	requireOwnThreads(t)
	l := newLauncher(t)
	target := newTarget(t)
	layers := []struct {
		name, without string
		open          func(probe.Attempt) bool // not expected to stop it
	}{
		{"whole", "", func(probe.Attempt) bool { return false }},
		{"no filter", "seccomp,io_uring", func(a probe.Attempt) bool { return a.Filter }},
		{"no filter, no Landlock", "seccomp,io_uring,landlock", func(a probe.Attempt) bool { return a.Filter }},
		{"no filter, no empty root", "seccomp,io_uring,root", func(a probe.Attempt) bool { return a.Filter || a.Metadata }},
	}
	for _, a := range probe.All() {
		t.Run(a.Name, func(t *testing.T) {
			if a.Root && os.Geteuid() != 0 {
				t.Logf("outside it needs root: checked inside only")
			} else if got := outside(t, target, a); got != reached {
				t.Errorf("outside: %s; want it to succeed, or its failure inside proves nothing", got)
			}
			if a.Creates {
				entries, err := filepath.Glob(filepath.Join(target.Directory, "*"))
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range entries {
					if e != target.File && e != target.Socket {
						os.Remove(e)
					}
				}
			}
			row := ""
			for _, layer := range layers {
				got := inside(t, l, target, a, layer.without)
				row += fmt.Sprintf("; %s: %s", layer.name, got)
				if got == reached && !layer.open(a) {
					t.Errorf("%s: reached", layer.name)
				}
			}
			t.Log(row[2:])
		})
	}
}

// TestNothingIsReachableAsNobody runs the other tests as a user without any
// privileges, when this run has them.
func TestNothingIsReachableAsNobody(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("the other tests of this run are it")
		return
	}
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	directory, err := os.MkdirTemp("", "quintet-sandbox-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	copied := filepath.Join(directory, "sandbox.test")
	if err := errors.Join(os.Chmod(directory, 0o755), os.WriteFile(copied, binary, 0o755)); err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	// Only root may divide cgroups of version 1.
	cmd := exec.Command(copied, "-test.v", "-test.timeout=2m", "-test.skip=^TestMemoryLimitKills$")
	cmd.Dir = "/"
	cmd.Env = []string{"TMPDIR=" + os.TempDir(), "QUINTET_NO_SKIP=" + os.Getenv("QUINTET_NO_SKIP")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, Pdeathsig: syscall.SIGKILL}
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	t.Logf("as user %d, %v:\n%s", nobody, time.Since(begin).Round(time.Millisecond), out)
	if err != nil {
		t.Errorf("as user %d: %v", nobody, err)
	}
}

// TestGatewaysReachTheNetworkOnly makes every attempt in the sandboxes of gateways: both
// kinds make memory, as clients of servers do; one with a link reaches nothing, one with
// sockets the host's network and nothing else.
func TestGatewaysReachTheNetworkOnly(t *testing.T) {
	requireOwnThreads(t)
	l := newLauncher(t)
	target := newTarget(t)
	for calls, may := range map[Calls][]string{
		LinkCalls:   {"memory file"},
		SocketCalls: {"memory file", "connect by TCP", "connect by UDP"},
	} {
		for _, a := range probe.All() {
			if got := insideOf(t, l, calls, target, a, ""); (got == reached) != slices.Contains(may, a.Name) {
				t.Errorf("%s: %s: %s", calls, a.Name, got)
			}
		}
	}
}
