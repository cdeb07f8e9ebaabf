package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/internal/unix/probe"
)

// waitChild says that it is ready and lives until it is killed.
func waitChild(Report) any {
	os.Stdout.WriteString("ready\n")
	select {}
}

// spawnChild launches a sandboxed process that waits, tells its pid, and ends.
func spawnChild(Report) any {
	l, err := NewLauncher()
	if err != nil {
		return err.Error()
	}
	p, err := l.Start(Spec{Path: "/proc/self/exe", Env: []string{childEnv + "=wait"}, Profile: Profile{Name: "orphan", Calls: ServerCalls}})
	if err != nil {
		return err.Error()
	}
	os.Stdout.WriteString(strconv.Itoa(p.Pid) + "\n")
	_, _ = os.Stdin.Read(make([]byte, 1))
	return nil
}

func TestEveryMeasureIsApplied(t *testing.T) {
	requireOwnThreads(t)
	for _, calls := range []Calls{ServerCalls, StorageCalls} {
		var r Report
		begin := time.Now()
		run(t, newLauncher(t), "report", calls, nil, &r)
		t.Logf("%s, start to end of process %v: %v", calls, time.Since(begin).Round(100*time.Microsecond), r)
		for _, m := range r.Degraded() {
			if m.Name != "cgroup" { // depends on who started the test
				t.Errorf("%s: %s", m.Name, m.Detail)
			}
		}
	}
}

func TestProcessHasNothingInProc(t *testing.T) {
	requireOwnThreads(t)
	p, wait := start(t, newLauncher(t), "wait", ServerCalls, nil)
	awaitName(t, p.Pid, "quintet-wait")
	awaitStatus(t, p.Pid, "Seccomp", "2")
	for _, key := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		if got := status(t, p.Pid, key); strings.Trim(got, "0") != "" {
			t.Errorf("%s is %s, want none", key, got)
		}
	}
	if got := status(t, p.Pid, "NoNewPrivs"); got != "1" {
		t.Errorf("NoNewPrivs is %s", got)
	}
	if fields := strings.Fields(status(t, p.Pid, "NSpid")); len(fields) < 2 || fields[len(fields)-1] != "1" {
		t.Errorf("NSpid is %v, want process 1 of a namespace of its own", fields)
	}
	if os.Geteuid() == 0 {
		if got := strings.Fields(status(t, p.Pid, "Uid")); got[0] != got[1] || atoi(t, got[0]) < hostUserFirst {
			t.Errorf("Uid is %v, want one of its own", got)
		}
	}
	if err := p.Pidfd.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, state := wait(); state.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("ended by %v, want SIGKILL", state)
	}
}

func TestSigtermEndsProcessOne(t *testing.T) {
	p, wait := start(t, newLauncher(t), "wait", ServerCalls, nil)
	awaitStatus(t, p.Pid, "Seccomp", "2")
	if err := p.Pidfd.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, state := wait(); state.Success() {
		t.Errorf("ended by %v", state)
	}
}

func TestServersDieWithTheSupervisor(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{childEnv + "=spawn"}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	orphan := atoi(t, strings.TrimSpace(line))
	pidfd, err := unix.OpenPidfd(orphan)
	if err != nil {
		t.Fatal(err)
	}
	defer pidfd.Close()
	awaitStatus(t, orphan, "Seccomp", "2")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	in.Close()
	if err := pidfd.Wait(); err != nil { // the test's timeout bounds it
		t.Fatal(err)
	}
	if _, err := CgroupSupport(); err != nil {
		return
	}
	l := newLauncher(t) // sweeps
	for _, base := range l.groups.bases {
		left, err := filepath.Glob(filepath.Join(base, fmt.Sprintf("quintet-%d-*", cmd.Process.Pid)))
		if err != nil || len(left) != 0 {
			t.Errorf("left behind by the dead supervisor: %v, %v", left, err)
		}
	}
}

func TestServersDieWithTheLauncher(t *testing.T) {
	l := newLauncher(t)
	p, wait := start(t, l, "wait", ServerCalls, nil)
	awaitStatus(t, p.Pid, "Seccomp", "2")
	l.Close()
	wait()
	if _, err := l.Start(Spec{Path: "/proc/self/exe", Profile: Profile{Name: "late", Calls: ServerCalls}}); !errors.Is(err, ErrClosed) {
		t.Errorf("start after close: %v, want ErrClosed", err)
	}
}

func TestMissingProgramIsNamed(t *testing.T) {
	_, err := newLauncher(t).Start(Spec{Path: "/no/such/program", Profile: Profile{Name: "none", Calls: ServerCalls}})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("got %v", err)
	}
}

func TestEnterByHandIsRefused(t *testing.T) {
	if _, err := Enter(); !errors.Is(err, ErrNotLaunched) {
		t.Errorf("got %v, want ErrNotLaunched", err)
	}
}

// BenchmarkStart measures a process from Start to the end of a program that
// only enters its sandbox, beside the same program without one.
func BenchmarkStart(b *testing.B) {
	b.Run("sandboxed", func(b *testing.B) {
		l := newLauncher(b)
		for b.Loop() {
			var r Report
			run(b, l, "report", StorageCalls, nil, &r)
		}
	})
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = []string{childEnv + "=report"}
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
		}
	})
}

func atoi(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestMemoryLimitKills(t *testing.T) {
	if support, err := CgroupSupport(); err != nil {
		testenv.Skip(t, "no cgroups to divide: "+err.Error())
	} else {
		t.Log(support)
	}
	l := newLauncher(t)
	p, err := l.Start(Spec{
		Path: "/proc/self/exe", Env: []string{childEnv + "=hog"},
		Profile: Profile{Name: "hog", Calls: ServerCalls, Limits: Limits{MemoryBytes: 32 << 20}},
	})
	if err != nil {
		t.Fatal(err)
	}
	groups := p.cgroup.directories
	if len(groups) == 0 {
		t.Fatal("the process has no group")
	}
	if err := p.Pidfd.Wait(); err != nil {
		t.Fatal(err)
	}
	if !p.OutOfMemory() {
		t.Error("the kernel's reason is not known")
	}
	state, err := p.Reap()
	if err != nil {
		t.Fatal(err)
	}
	if status := state.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Errorf("with 32 MiB allowed and 256 MiB used: %v, want SIGKILL", state)
	}
	for _, group := range groups {
		if _, err := os.Stat(group); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left behind: %v", group, err)
		}
	}
}

// hogChild uses 256 MiB.
func hogChild(Report) any {
	memory := make([]byte, 256<<20)
	for i := range memory {
		memory[i] = byte(i)
	}
	return len(memory)
}

// descriptorsChild names its open descriptors, less those of the Go runtime.
// It runs without the measures that would keep it from looking.
func descriptorsChild(Report) any {
	var open []string
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return []string{err.Error()}
	}
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && !strings.HasPrefix(target, "anon_inode:") {
			open = append(open, e.Name())
		}
	}
	return open
}

func TestOnlyHandedDescriptorsArrive(t *testing.T) {
	handed, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer handed.Close()
	leaky, err := probe.Leak(int(handed.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leaky)
	var open []string
	run(t, newLauncher(t), "descriptors", StorageCalls, []string{withoutEnv + "=seccomp,landlock,root,io_uring"}, &open, handed)
	if want := []string{"0", "1", "2", "3"}; !slices.Equal(open, want) {
		t.Errorf("open are %v, want %v", open, want)
	}
}
