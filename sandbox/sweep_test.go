package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/internal/unix/probe"
)

// callsEnd is beyond the last system call that Linux had when this was written.
const callsEnd = 480

// sweepChild makes the system calls named by number in its environment, one
// after another, each announced before and reported after.
func sweepChild(Report) any {
	for _, word := range strings.Fields(os.Getenv("QUINTET_TEST_CALLS")) {
		number, err := strconv.Atoi(word)
		if err != nil {
			return err.Error()
		}
		os.Stdout.WriteString(word + " ")
		errno := probe.Call(uintptr(number))
		os.Stdout.WriteString(strconv.Itoa(int(errno)) + "\n")
	}
	return nil
}

// sweep returns for each call what it answered, or that it killed the process,
// which is then started anew for the rest.
func sweep(t *testing.T, calls []int, run func(env []string) string) map[int]string {
	t.Helper()
	answers := map[int]string{}
	for len(calls) > 0 {
		words := strings.Trim(fmt.Sprint(calls), "[]")
		last := 0
		for _, line := range strings.Split(run([]string{"QUINTET_TEST_CALLS=" + words}), "\n") {
			var number, errno int
			switch n, _ := fmt.Sscan(line, &number, &errno); {
			case n == 0 || number == 0 && n == 1:
				continue
			case n == 1:
				answers[number] = "killed"
			default:
				answers[number] = syscall.Errno(errno).Error()
			}
			last++
			if answers[number] == "killed" {
				break
			}
		}
		if last == 0 {
			t.Fatalf("no answer to %v", calls)
		}
		calls = calls[last:]
	}
	return answers
}

// beyond returns the calls that are not on a list, and those of them that are fatal.
func beyond(c Calls) (calls []int, fatal map[int]bool) {
	listed := map[int]bool{}
	add := func(names ...string) {
		for _, name := range names {
			if number, ok := unix.SystemCall(name); ok {
				listed[int(number)] = true
			}
		}
	}
	add(c.names()...)
	for _, r := range c.rules() {
		add(r.call)
	}
	add("clone3", "kill", "tgkill")
	fatal = map[int]bool{}
	for _, name := range fatalCalls {
		if number, ok := unix.SystemCall(name); ok {
			fatal[int(number)] = true
		}
	}
	for number := range callsEnd {
		if !listed[number] && !probe.Exempt(uintptr(number)) {
			calls = append(calls, number)
		}
	}
	return calls, fatal
}

// TestCallsBeyondTheListAreDenied makes every system call that is not on a list,
// inside and outside.
func TestCallsBeyondTheListAreDenied(t *testing.T) {
	l := newLauncher(t)
	for _, set := range knownCalls {
		calls, fatal := beyond(set)
		got := sweep(t, calls, func(env []string) string {
			_, wait := start(t, l, "sweep", set, env)
			out, _ := wait()
			return out
		})
		for _, number := range calls {
			want := syscall.EPERM.Error()
			if fatal[number] {
				want = "killed"
			}
			if got[number] != want {
				t.Errorf("%s: call %d: %q, want %q", set, number, got[number], want)
			}
		}
		t.Logf("%s: %d of %d calls are denied, %d of them fatally", set, len(calls), callsEnd, len(fatal))
	}

	calls, _ := beyond(StorageCalls)
	// Outside, the same calls reach the kernel, which finds the arguments wrong.
	harmless := calls[:0:0]
	for _, number := range calls {
		if !probe.Disruptive(uintptr(number)) {
			harmless = append(harmless, number)
		}
	}
	free := 0
	for _, answer := range sweep(t, harmless, func(env []string) string {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(env, childEnv+"=sweep")
		out, _ := cmd.Output() // a call may kill the process: it is then in the output
		return string(out)
	}) {
		if answer != syscall.EPERM.Error() && answer != "killed" {
			free++
		}
	}
	t.Logf("outside, %d of the %d tried get past", free, len(harmless))
	if free < len(harmless)*3/4 {
		t.Errorf("outside only %d of %d calls get past: the sweep proves little", free, len(harmless))
	}
}
