package test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quintet-os/quintet/app"
	"github.com/quintet-os/quintet/internal/netns"
	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/network/link/linktest"
	"github.com/quintet-os/quintet/supervisor"
)

const sentBytes = 5_000_000

// sendAndEnd is a program that sends sentBytes, closes and ends at once.
func sendAndEnd(to string) []string {
	host, port, _ := net.SplitHostPort(to)
	return []string{"python3", "-c", fmt.Sprintf(`import socket
s = socket.create_connection(("%s", %s))
s.sendall(bytes(range(250)) * %d)
s.close()`, host, port, sentBytes/250)}
}

// received is what a reader has got of a connection.
type received struct {
	bytes int
	same  bool // as what was sent
	err   error
}

// readSlowly takes one connection and reads it in small pieces with pauses, so that most
// of it is still on its way when its sender has ended.
func readSlowly(l net.Listener) <-chan received {
	got := make(chan received, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			got <- received{err: err}
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience)) // the end may never come
		r := received{same: true}
		for p := make([]byte, 16<<10); r.err == nil; time.Sleep(time.Millisecond) {
			var n int
			n, r.err = c.Read(p)
			for i, b := range p[:n] {
				r.same = r.same && int(b) == (r.bytes+i)%250
			}
			r.bytes += n
		}
		got <- r
	}()
	return got
}

func listenIn(t *testing.T, n *netns.Namespace, address string) (l net.Listener) {
	t.Helper()
	if err := n.Do(func() (err error) { l, err = net.Listen("tcp", address); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// endings are programs that are run without Quintet, and under it towards the world and
// towards an application, and end at once.
type endings struct {
	system, world *netns.Namespace
	s             *System
	web           *app.Network
}

func newEndings(t *testing.T) *endings {
	e := &endings{system: linktest.NewNamespace(t), world: linktest.NewNamespace(t)}
	cable(t, e.system, e.world, prefixes(systemEnd+"/24"), prefixes(worldEnd+"/24"))
	e.s = UpIn(t, e.system, program, `version: 1
servers: {net: {kind: network}}
networks: {lan: {server: net}}
uplinks: {world: {network: lan, kind: user}}
applications:
  web: {networks: {lan: {}}}
  shell: {networks: {lan: {}}}
`)
	e.web = e.s.Network("web", "lan")
	return e
}

// inside is the address of the application.
func (e *endings) inside() string { return e.web.Addresses()[0].Addr().String() }

// start starts a program where the system runs.
func (e *endings) start(t *testing.T, args []string) *exec.Cmd {
	t.Helper()
	run := exec.Command(args[0], args[1:]...)
	run.Stderr = os.Stderr
	if err := e.system.Start(run); err != nil {
		t.Fatal(err)
	}
	return run
}

// TestSentAfterTheEnd: what a program has written before it ended arrives, and so does
// the end of its connection, as without Quintet.
func TestSentAfterTheEnd(t *testing.T) {
	e := newEndings(t)
	outside := listenIn(t, e.world, worldEnd+":80")
	inside, err := e.web.Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	for _, c := range []struct {
		name string
		to   net.Listener
		args []string
	}{
		{"without Quintet", outside, sendAndEnd(worldEnd + ":80")},
		{"to the world", outside, e.s.compat("shell", sendAndEnd(worldEnd+":80")...)},
		{"to an application", inside, e.s.compat("shell", sendAndEnd(e.inside()+":80")...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 3 {
				got := readSlowly(c.to)
				if err := e.start(t, c.args).Wait(); err != nil {
					t.Fatal(err)
				}
				if r := <-got; r.bytes != sentBytes || !r.same || !errors.Is(r.err, io.EOF) {
					t.Errorf("%d bytes of %d arrive, as sent: %t, then %v", r.bytes, sentBytes, r.same, r.err)
				}
			}
		})
	}
}

const lastDatagrams = 150

// TestLastDatagrams: so do the datagrams that a program has sent, though the network
// server has stopped before.
func TestLastDatagrams(t *testing.T) {
	e := newEndings(t)
	var outside net.PacketConn
	if err := e.world.Do(func() (err error) { outside, err = net.ListenPacket("udp", worldEnd+":9"); return err }); err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	inside, err := e.web.ListenPacket("udp", ":9")
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	// It tells that it is there, and sends when it is told to.
	sending := func(t *testing.T, to string) (args []string, there, begin string) {
		dir := t.TempDir()
		there, begin = filepath.Join(dir, "there"), filepath.Join(dir, "begin")
		return []string{"python3", "-c", fmt.Sprintf(`import os, socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("%s", 9))
open("%s", "w").close()
while not os.path.exists("%s"): time.sleep(0.001)
for i in range(%d): s.send(b"%%d" %% i)`, to, there, begin, lastDatagrams)}, there, begin
	}
	for _, c := range []struct {
		name   string
		from   net.PacketConn
		to     string
		compat bool
	}{
		{"without Quintet", outside, worldEnd, false},
		{"to the world", outside, worldEnd, true},
		{"to an application", inside, e.inside(), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			args, there, begin := sending(t, c.to)
			if c.compat {
				args = e.s.compat("shell", args...)
			}
			run := e.start(t, args)
			appears(t, there)
			if c.compat { // until it is killed as hung, and another takes over
				stop(t, e.s.Server("net").PID)
			}
			if err := errors.Join(os.WriteFile(begin, nil, 0o600), run.Wait()); err != nil {
				t.Fatal(err)
			}
			_ = c.from.SetReadDeadline(time.Now().Add(patience))
			arrived := make(map[string]bool) // a successor may forward one again
			for b := make([]byte, 100); len(arrived) < lastDatagrams; {
				n, _, err := c.from.ReadFrom(b)
				if err != nil {
					t.Fatalf("%d datagrams of %d arrive: %v", len(arrived), lastDatagrams, err)
				}
				arrived[string(b[:n])] = true
			}
		})
	}
}

// stop stops a process.
func stop(t *testing.T, pid int) {
	t.Helper()
	p, err := os.FindProcess(pid)
	if err == nil {
		err = p.Signal(syscall.SIGSTOP)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// appears waits for a file.
func appears(t *testing.T, file string) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(pollPeriod) {
		if _, err := os.Stat(file); err == nil {
			return
		}
	}
	t.Fatalf("%s never appeared", file)
}

// compat is the command that runs a program on the system's network.
func (s *System) compat(name string, args ...string) []string {
	return append([]string{program, "run", "--state", s.Dir, "--compat", "--name", name, "--"}, args...)
}

const twoGuests = `version: 1
servers: {net: {kind: network}}
networks: {lan: {server: net}}
applications:
  web: {networks: {lan: {addresses: [10.77.0.9]}}}
  shell: {networks: {lan: {}}}
`

// serveBehind is a script that serves one line at port 80 for ever, from a process
// whose pid it writes to a file.
func serveBehind(file string) string {
	return fmt.Sprintf(`setsid python3 -c '
import os, socket
l = socket.create_server(("", 80))
open("%[1]s.new", "w").write(str(os.getpid()))
os.rename("%[1]s.new", "%[1]s")
while True:
    c = l.accept()[0]
    c.sendall(b"here\n")
    c.close()
' >/dev/null 2>&1`, file)
}

// awaitServing waits until the process of serveBehind serves, and returns its pid.
func awaitServing(t *testing.T, file string) int {
	t.Helper()
	appears(t, file)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// TestNetworkOfDaemons: the network of a program lasts as long as the last process
// inside, whatever has become of the command that started it.
func TestNetworkOfDaemons(t *testing.T) {
	testenv.RequireRoot(t)
	s := Up(t, program, twoGuests)
	shell := s.Network("shell", "lan")
	here := func(t *testing.T) {
		t.Helper()
		c, err := shell.DialContext(t.Context(), "tcp", "10.77.0.9:80")
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if line, err := bufio.NewReader(c).ReadString('\n'); line != "here\n" {
			t.Errorf("it says %q, %v", line, err)
		}
	}
	gone := func(pid int) {
		t.Helper()
		behind, err := os.FindProcess(pid)
		if err == nil {
			err = behind.Kill()
		}
		if err != nil {
			t.Error(err)
		}
		s.Until("the port of web has gone", func(state *supervisor.State) bool {
			for _, p := range state.Networks[0].Ports {
				if p.Name == "web" {
					return false
				}
			}
			return true
		})
	}
	t.Run("the program ends", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "pid")
		args := s.compat("web", "sh", "-c", serveBehind(file)+" & until [ -e "+file+" ]; do sleep 0.01; done; exit 5")
		// Its output is a pipe, which nobody who stays behind may keep open.
		if out, said, status := result(t, exec.Command(args[0], args[1:]...)); status != 5 || out+said != "" {
			t.Errorf("status %d: %s%s", status, out, said)
		}
		pid := awaitServing(t, file)
		here(t)
		gone(pid)
	})
	t.Run("the command is killed", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "pid")
		args := s.compat("web", "sh", "-c", serveBehind(file))
		run := exec.Command(args[0], args[1:]...)
		if err := run.Start(); err != nil {
			t.Fatal(err)
		}
		pid := awaitServing(t, file)
		if err := run.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = run.Wait()
		here(t)
		gone(pid)
	})
}

// TestFloodAndEnd: a program that ends while its frames find no room does not keep its
// command.
func TestFloodAndEnd(t *testing.T) {
	testenv.RequireRoot(t)
	s := Up(t, program, twoGuests)
	to := s.Network("shell", "lan").Addresses()[0].Addr().String()
	for range 5 {
		args := s.compat("web", "python3", "-c", fmt.Sprintf(`import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("%s", 9))
end = time.monotonic() + 0.3
while time.monotonic() < end:
    try: s.send(b"x" * 1400)
    except OSError: pass`, to))
		run := exec.Command(args[0], args[1:]...)
		var said bytes.Buffer
		run.Stderr = &said
		if err := run.Start(); err != nil {
			t.Fatal(err)
		}
		late := time.AfterFunc(patience, func() { _ = run.Process.Kill() })
		if err := run.Wait(); err != nil {
			t.Errorf("it ended with %v: %s", err, strings.TrimSpace(said.String()))
		}
		late.Stop()
	}
}
