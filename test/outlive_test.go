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
	"testing"
	"time"

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

// TestSentAfterTheEnd: what a program has written before it ended arrives, and so does
// the end of its connection, as without Quintet.
func TestSentAfterTheEnd(t *testing.T) {
	system, world := linktest.NewNamespace(t), linktest.NewNamespace(t)
	cable(t, system, world, prefixes(systemEnd+"/24"), prefixes(worldEnd+"/24"))
	s := UpIn(t, system, program, `version: 1
servers: {net: {kind: network}}
networks: {lan: {server: net}}
uplinks: {world: {network: lan, kind: user}}
applications:
  web: {networks: {lan: {}}}
  shell: {networks: {lan: {}}}
`)
	outside := listenIn(t, world, worldEnd+":80")
	web := s.Network("web", "lan")
	inside, err := web.Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	plain := func(c *exec.Cmd) error { return system.Start(c) }
	for _, c := range []struct {
		name  string
		to    net.Listener
		args  []string
		start func(*exec.Cmd) error
	}{
		{"without Quintet", outside, sendAndEnd(worldEnd + ":80"), plain},
		{"to the world", outside, s.compat("shell", sendAndEnd(worldEnd+":80")...), plain},
		{"to an application", inside, s.compat("shell", sendAndEnd(web.Addresses()[0].Addr().String()+":80")...), plain},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 3 {
				got := readSlowly(c.to)
				run := exec.Command(c.args[0], c.args[1:]...)
				run.Stderr = os.Stderr
				if err := errors.Join(c.start(run), run.Wait()); err != nil {
					t.Fatal(err)
				}
				if r := <-got; r.bytes != sentBytes || !r.same || !errors.Is(r.err, io.EOF) {
					t.Errorf("%d bytes of %d arrive, as sent: %t, then %v", r.bytes, sentBytes, r.same, r.err)
				}
			}
		})
	}
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
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(pollPeriod) {
		if text, err := os.ReadFile(file); err == nil {
			pid, err := strconv.Atoi(string(text))
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatal("the server inside never came up")
	return 0
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
