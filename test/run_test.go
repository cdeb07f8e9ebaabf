package test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/quintet-os/quintet/app"
)

// quintet runs a command on the system and returns what it prints, says and
// ends with.
func (s *System) quintet(args ...string) (out, said string, status int) {
	s.t.Helper()
	c := exec.Command(program, append(args[:1:1], append([]string{"--state", s.Dir}, args[1:]...)...)...)
	return s.result(c)
}

func (s *System) result(c *exec.Cmd) (out, said string, status int) {
	s.t.Helper()
	return result(s.t, c)
}

func result(t testing.TB, c *exec.Cmd) (out, said string, status int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return stdout.String(), stderr.String(), c.ProcessState.ExitCode()
}

const twoApplications = `version: 1
servers: {store: {kind: storage}}
volumes:
  data: {server: store, memory: 1MiB}
  secret: {server: store, memory: 1MiB}
applications:
  test: {volumes: {data: rw}}
  keeper:
    volumes: {secret: rw}
    command: [sh, -c, 'echo "$GREETING from $PWD"']
    directory: /usr
    environment: {GREETING: hello}
`

// TestRun: what `quintet run` gives to a program, and what it passes on.
func TestRun(t *testing.T) {
	s := Up(t, program, twoApplications)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("command, directory and environment", func(t *testing.T) {
		if out, said, status := s.quintet("run", "--name", "keeper"); out != "hello from /usr\n" || status != 0 {
			t.Errorf("%q, %q, status %d", out, said, status)
		}
	})
	t.Run("grants", func(t *testing.T) {
		for _, c := range []struct{ name, volume, want string }{
			{"test", "data", "opened"}, {"keeper", "secret", "opened"},
			{"test", "secret", "does not grant"}, {"keeper", "data", "does not grant"},
		} {
			run := exec.Command(program, "run", "--state", s.Dir, "--name", c.name, "--", self)
			run.Env = append(os.Environ(), openVariable+"="+c.volume)
			if out, said, _ := s.result(run); !strings.Contains(out+said, c.want) {
				t.Errorf("%s opens %s: %q %q", c.name, c.volume, out, said)
			}
		}
	})
	t.Run("exit status", func(t *testing.T) {
		for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -9 $$": 128 + 9} {
			if _, said, status := s.quintet("run", "--name", "test", "--", "sh", "-c", script); status != want || said != "" {
				t.Errorf("%s: status %d, want %d; it says %q", script, status, want, said)
			}
		}
	})
	t.Run("signals", func(t *testing.T) {
		for sig, name := range map[syscall.Signal]string{syscall.SIGTERM: "TERM", syscall.SIGINT: "INT", syscall.SIGHUP: "HUP", syscall.SIGUSR1: "USR1"} {
			run := exec.Command(program, "run", "--state", s.Dir, "--name", "test", "--", "sh", "-c",
				"trap 'exit 42' "+name+"; echo ready; while :; do read line; done")
			in, err := run.StdinPipe() // never written: sh waits in read
			if err != nil {
				t.Fatal(err)
			}
			out, err := run.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := run.Start(); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
				t.Fatal(line, err)
			}
			if err := run.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			_ = run.Wait()
			in.Close()
			if status := run.ProcessState.ExitCode(); status != 42 {
				t.Errorf("%v: status %d", sig, status)
			}
		}
	})
}

// TestDetach: the system goes on after the command.
func TestDetach(t *testing.T) {
	dir := shortDir(t)
	file := dir + "/quintet.yaml"
	if err := os.WriteFile(file, []byte(oneServer), 0o600); err != nil {
		t.Fatal(err)
	}
	_, said, status := result(t, exec.Command(program, "up", "--detach", "--state", dir, "--file", file))
	if status != 0 || !strings.Contains(said, "quintet down") {
		t.Fatalf("status %d: %s", status, said)
	}
	if _, said, status := result(t, exec.Command(program, "up", "--detach", "--state", dir, "--file", file)); status != 1 || !oneSentence(said) {
		t.Errorf("a second one: status %d: %s", status, said)
	}
	out, said, status := result(t, exec.Command(program, "ps", "--state", dir))
	if status != 0 || !strings.Contains(out, "store") || !strings.Contains(out, "serving") {
		t.Errorf("ps: status %d: %s%s", status, out, said)
	}
	if _, said, status := result(t, exec.Command(program, "down", "--state", dir)); status != 0 || said != "" {
		t.Errorf("down: status %d: %s", status, said)
	}
	if _, said, status := result(t, exec.Command(program, "ps", "--state", dir)); status != 3 || !oneSentence(said) {
		t.Errorf("ps afterwards: status %d: %s", status, said)
	}
}

// TestCompletion: bash understands the script, and it knows the servers.
func TestCompletion(t *testing.T) {
	script, said, status := result(t, exec.Command(program, "completion", "bash"))
	if status != 0 || said != "" {
		t.Fatalf("status %d: %s", status, said)
	}
	bash := exec.Command("bash", "-n")
	bash.Stdin = strings.NewReader(script)
	if _, said, status := result(t, bash); status != 0 {
		t.Errorf("bash: %s", said)
	}
	s := Up(t, program, twoApplications)
	for _, verb := range []string{"kill", "restart"} {
		if out, _, _ := s.result(exec.Command(program, "__complete", verb, "--state", s.Dir, "")); !strings.HasPrefix(out, "store\n") {
			t.Errorf("%s <tab>: %q", verb, out)
		}
	}
}

// oneSentence: an error message for a person, not a page of usage.
func oneSentence(said string) bool {
	return strings.HasPrefix(said, "quintet: ") && strings.Count(said, "\n") == 1
}

// TestWrongInput: every command says in one sentence what is wrong, and ends with
// the documented status.
func TestWrongInput(t *testing.T) {
	s := Up(t, program, twoApplications)
	nowhere := shortDir(t)
	for _, c := range []struct {
		args   string
		status int
		say    string
	}{
		{"nonsense", 2, "nonsense"},
		{"up --nonsense", 2, "--nonsense"},
		{"up superfluous", 2, "no arguments"},
		{"up --file NOWHERE/absent.yaml", 1, "absent.yaml"},
		{"up --state /proc/nothing --file STATE/quintet.yaml", 1, "--state"},
		{"ps --state NOWHERE", 3, "quintet up"},
		{"ps superfluous", 2, "no arguments"},
		{"down --state NOWHERE", 3, "quintet up"},
		{"kill", 2, "name of a server"},
		{"kill --state STATE absent", 4, "store"},
		{"kill --state NOWHERE store", 3, "quintet up"},
		{"restart --state STATE absent", 4, "store"},
		{"restart --state STATE", 2, "name of a server"},
		{"run --state STATE", 2, "--name"},
		{"run --state STATE --name absent -- true", 4, "absent"},
		{"run --state STATE --name test", 2, "no command"},
		{"run --state STATE --name test -- /absent/program", 1, "/absent/program"},
		{"run --state NOWHERE --name test -- true", 3, "quintet up"},
		{"doctor superfluous", 2, "no arguments"},
		{"version superfluous", 2, "no arguments"},
		{"demo --input NOWHERE/absent", 1, "absent"},
		{"demo --duration soon", 2, "duration"},
		{"demo --duration -1s", 2, "negative"},
		{"bench", 2, "bench"},
		{"bench nonsense", 2, "nonsense"},
		{"bench storage --only nonsense", 1, "nonsense"},
		{"completion nonsense", 2, "nonsense"},
		{"internal storage-server", 1, "not to be run by hand"},
	} {
		args := strings.Fields(strings.NewReplacer("STATE", s.Dir, "NOWHERE", nowhere).Replace(c.args))
		_, said, status := s.result(exec.Command(program, args...))
		if status != c.status || !oneSentence(said) || !strings.Contains(said, c.say) {
			t.Errorf("quintet %s: status %d, want %d, and one sentence about %q:\n%s", c.args, status, c.status, c.say, said)
		}
	}
	if server := s.Server("store"); server.Deaths != 0 {
		t.Errorf("the server died %d times", server.Deaths)
	}
}

// TestDoctor: it ends well on a host that can run all other tests.
func TestDoctor(t *testing.T) {
	for _, args := range [][]string{{"doctor"}, {"doctor", "--json"}} {
		out, said, status := result(t, exec.Command(program, args...))
		if status != 0 || !strings.Contains(out, "io_uring") {
			t.Errorf("%v: status %d: %s%s", args, status, out, said)
		}
	}
}

// openVariable makes the test program an application that opens the volume it
// names, in the domain it was started in.
const openVariable = "QUINTET_TEST_OPEN"

func openProcess() {
	a, err := app.Connect(context.Background())
	if err == nil {
		_, err = a.Volume(context.Background(), os.Getenv(openVariable))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("opened")
}
