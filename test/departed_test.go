package test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quintet-os/quintet/app"
	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/network/link/linktest"
	"github.com/quintet-os/quintet/supervisor"
)

// victimVariable makes this binary an application that has idle connections: the
// socket of the supervisor, and whom to connect to.
const victimVariable = "QUINTET_TEST_VICTIM"

// victimProcess listens at port 80, connects, says when it has done so, and waits to be
// killed.
func victimProcess() {
	fields := strings.Fields(os.Getenv(victimVariable))
	ctx := context.Background()
	a, err := app.Connect(ctx, app.WithSocket(fields[0]), app.WithName("victim"))
	if err == nil {
		var n *app.Network
		if n, err = a.Network(ctx, "lan"); err == nil {
			err = beVictim(n, fields[1:])
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func beVictim(n *app.Network, whom []string) error {
	l, err := n.Listen("tcp", ":80")
	if err != nil {
		return err
	}
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for _, to := range whom {
		c, err := n.Dial("tcp", to)
		if err != nil {
			return err
		}
		open = append(open, c)
	}
	fmt.Println("connected")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		open = append(open, c)
		fmt.Println("accepted")
	}
}

// startVictim returns when the victim is connected, and a function that waits until it
// has accepted a connection.
func startVictim(t *testing.T, s *System, whom ...string) (victim *os.Process, accepted func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self)
	c.Env = append(os.Environ(), victimVariable+"="+s.Socket()+" "+strings.Join(whom, " "))
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	lines := bufio.NewScanner(out)
	expect := func(what string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != what {
			t.Fatalf("the application has not %s: %q, %v", what, lines.Text(), lines.Err())
		}
	}
	expect("connected")
	return c.Process, func() { t.Helper(); expect("accepted") }
}

// expectReset checks that a connection which nobody uses is reset, long before
// keep-alive could find out.
func expectReset(t *testing.T, what string, c net.Conn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Error(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%s reads %d bytes, %v", what, n, err)
	}
}

// TestTheDeathOfAnApplicationIsTold: the peers of an application that is killed, whether
// they are applications or behind an uplink, are told at once, though no connection
// carries anything; also when the network's server has died since, or dies with it.
func TestTheDeathOfAnApplicationIsTold(t *testing.T) {
	for _, c := range []struct {
		name string
		kill func(t *testing.T, s *System, victim *os.Process)
	}{
		{"alone", func(*testing.T, *System, *os.Process) {}},
		{"after its server", func(_ *testing.T, s *System, _ *os.Process) {
			s.KillServer("net")
			s.Until("a successor serves", func(state *supervisor.State) bool { return state.Servers[0].Phase == supervisor.PhaseServing })
		}},
		{"with its server", func(_ *testing.T, s *System, _ *os.Process) { s.KillServer("net") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			system, world := linktest.NewNamespace(t), linktest.NewNamespace(t)
			cable(t, system, world, nil, prefixes("10.77.0.200/24", "fd00:7175:696e::200/64"))
			s := UpIn(t, system, program, `version: 1
servers: {net: {kind: network}}
networks: {lan: {server: net}}
uplinks: {cable: {network: lan, kind: packet, interface: cable}}
applications:
  victim: {networks: {lan: {addresses: [10.77.0.9, "fd00:7175:696e::9"]}}}
  peer: {networks: {lan: {}}}
`)
			peer := s.Network("peer", "lan")
			near, err := peer.Listen("tcp", ":80")
			if err != nil {
				t.Fatal(err)
			}
			defer near.Close()
			far := listenIn(t, world, ":80")
			whom := []string{"10.77.0.200:80", "[fd00:7175:696e::200]:80"}
			for _, a := range peer.Addresses() {
				whom = append(whom, net.JoinHostPort(a.Addr().String(), "80"))
			}
			victim, accepted := startVictim(t, s, whom...)
			conns := map[string]net.Conn{}
			for name, l := range map[string]net.Listener{"application": near, "kernel": far} {
				for range 2 {
					c, err := l.Accept()
					if err != nil {
						t.Fatal(err)
					}
					conns[fmt.Sprintf("the %s that %v dialled", name, c.RemoteAddr())] = c
				}
			}
			for _, to := range []string{"10.77.0.9:80", "[fd00:7175:696e::9]:80"} {
				var err error
				for name, dial := range map[string]func() (net.Conn, error){
					"application": func() (net.Conn, error) { return peer.Dial("tcp", to) },
					"kernel": func() (c net.Conn, err error) {
						_ = world.Do(func() error { c, err = net.Dial("tcp", to); return nil })
						return c, err
					},
				} {
					if conns[fmt.Sprintf("the %s that dialled %s", name, to)], err = dial(); err != nil {
						t.Fatal(err)
					}
					accepted()
				}
			}
			c.kill(t, s, victim)
			if err := victim.Kill(); err != nil {
				t.Fatal(err)
			}
			for what, c := range conns {
				expectReset(t, what, c)
				c.Close()
			}
		})
	}
}

// TestTheDeathOfAHolderIsTold: so it is when the process goes that holds the network of
// a program under --compat, whose kernel can tell nobody any more.
func TestTheDeathOfAHolderIsTold(t *testing.T) {
	testenv.RequireRoot(t)
	s := Up(t, program, twoGuests)
	shell := s.Network("shell", "lan")
	l, err := shell.Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	args := s.compat("web", "python3", "-c", fmt.Sprintf(`import socket, sys
s = socket.create_connection(("%s", 80))
sys.stdin.read()`, shell.Addresses()[0].Addr()))
	run := exec.Command(args[0], args[1:]...)
	run.Stderr = os.Stderr
	end, err := run.StdinPipe()
	if err == nil {
		err = run.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = end.Close() // the program outlives the holder
		_ = run.Wait()
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	killed := false
	for _, p := range s.State0().Networks[0].Ports {
		if p.Name != "web" {
			continue
		}
		holder, err := os.FindProcess(p.PID)
		if err == nil {
			err = holder.Kill()
		}
		if err != nil {
			t.Fatal(err)
		}
		killed = true
	}
	if !killed {
		t.Fatal("the program has no port")
	}
	expectReset(t, "the peer of the program", c)
}

// TestTheDeathOfAUserUplinkIsTold: neither a guest that reads nor the world takes it for
// the end of the data, and neither waits for ever.
func TestTheDeathOfAUserUplinkIsTold(t *testing.T) {
	testenv.RequireRoot(t)
	s, _, world := upBesideWorld(t, `
  web: {networks: {lan: {publish: ["8080:80"]}}}
`)
	web := s.Network("web", "lan")
	inside, err := web.Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	outside := listenIn(t, world, worldEnd+":80")
	out, err := web.Dial("tcp", worldEnd+":80")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var in net.Conn
	if err := world.Do(func() (err error) { in, err = net.Dial("tcp", systemEnd+":8080"); return err }); err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	conns := map[string]net.Conn{"the guest that has dialled": out, "the world that has dialled": in}
	for what, l := range map[string]net.Listener{"the world that was dialled": outside, "the guest that was dialled": inside} {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns[what] = c
	}
	// Both ways, what has been sent so far is not all.
	for from, to := range map[string]string{
		"the guest that has dialled": "the world that was dialled", "the world that was dialled": "the guest that has dialled",
		"the world that has dialled": "the guest that was dialled", "the guest that was dialled": "the world that has dialled",
	} {
		if _, err := conns[from].Write([]byte("truncated")); err != nil {
			t.Error(err)
		}
		if _, err := conns[to].Read(make([]byte, 100)); err != nil {
			t.Error(err)
		}
	}
	s.KillServer("world")
	for what, c := range conns {
		expectReset(t, what, c)
	}
}
