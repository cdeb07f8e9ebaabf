package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/netns"
)

// probing is what both ends of an idle connection do: hundreds of times what they would
// by default, since keep-alive ends a connection when several probes have no answer.
var probing = net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 2}

// idleFor is time in which nothing may happen to anybody: it has to pass.
const idleFor = 5 * time.Second

// echoProgram is a program that answers whoever connects to port 81, and one whom it
// connects to, with what they say.
func echoProgram(to, port string) []string {
	return []string{"python3", "-c", fmt.Sprintf(`import socket, threading
def echo(c):
    for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL): c.setsockopt(socket.IPPROTO_TCP, option, 1)
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
    c.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    while True:
        b = c.recv(100)
        if not b: break
        c.sendall(b)
l = socket.create_server(("", 81))
threading.Thread(target=echo, args=(socket.create_connection(("%s", %s)),), daemon=True).start()
while True: threading.Thread(target=echo, args=(l.accept()[0],), daemon=True).start()`, to, port)}
}

// answers sends something over a connection and waits until it comes back.
func answers(c net.Conn) error {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte("here")); err != nil {
		return err
	}
	b := make([]byte, 4)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "here" {
		return fmt.Errorf("%q comes back: %w", b, err)
	}
	return nil
}

// TestIdleConnections: connections that nobody uses stay, whoever has opened them and
// whatever carries them, while keep-alive asks for the peers, also over a death of the
// network server.
func TestIdleConnections(t *testing.T) {
	s, system, world := upBesideWorld(t, `
  web: {networks: {lan: {publish: ["8080:80"]}}}
  inside: {networks: {lan: {publish: ["8081:81"], addresses: [10.77.0.9]}}}
  outward: {networks: {lan: {}}}
`)
	web := s.Network("web", "lan")
	listen := net.ListenConfig{KeepAliveConfig: probing}
	var outer net.Listener
	if err := world.Do(func() (err error) { outer, err = listen.Listen(t.Context(), "tcp", worldEnd+":80"); return err }); err != nil {
		t.Fatal(err)
	}
	defer outer.Close()
	inner, err := web.Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	// Those who listen keep what they accept; the others answer.
	accepted := func(l net.Listener) net.Conn {
		t.Helper()
		late := time.AfterFunc(patience, func() { _ = l.Close() })
		defer late.Stop()
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	start := func(name string, args []string) {
		t.Helper()
		args = s.compat(name, args...)
		run := exec.Command(args[0], args[1:]...)
		run.Stderr = os.Stderr
		if err := system.Start(run); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = run.Process.Signal(syscall.SIGTERM); _ = run.Wait() })
	}
	dial := func(n *netns.Namespace, address string) (c net.Conn) {
		t.Helper()
		d := net.Dialer{KeepAliveConfig: probing}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := n.Do(func() (err error) { c, err = d.DialContext(ctx, "tcp", address); return err }); err != nil {
			t.Fatal(err)
		}
		return c
	}
	echo := func(c net.Conn) {
		if k, ok := c.(interface {
			SetKeepAliveConfig(net.KeepAliveConfig) error
		}); ok {
			_ = k.SetKeepAliveConfig(probing)
		}
		_, _ = io.Copy(c, c)
	}

	idle := make(map[string]net.Conn)
	start("inside", echoProgram(web.Addresses()[0].Addr().String(), "80"))
	idle["a program to an application"] = accepted(inner)
	start("outward", echoProgram(worldEnd, "80"))
	idle["a program to the world"] = accepted(outer)
	idle["the world to a program"] = dial(world, systemEnd+":8081")
	idle["the world to an application"] = dial(world, systemEnd+":8080")
	go echo(accepted(inner))
	c, err := web.Dial("tcp", worldEnd+":80")
	if err != nil {
		t.Fatal(err)
	}
	idle["an application to the world"] = c
	go echo(accepted(outer))
	if c, err = web.Dial("tcp", "10.77.0.9:81"); err != nil {
		t.Fatal(err)
	}
	idle["an application to a program"] = c
	for name, c := range idle {
		defer c.Close()
		if k, ok := c.(interface {
			SetKeepAliveConfig(net.KeepAliveConfig) error
		}); ok {
			err = k.SetKeepAliveConfig(probing)
		}
		if err = errors.Join(err, answers(c)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	time.Sleep(idleFor)
	s.KillServer("net")
	time.Sleep(idleFor)
	for name, c := range idle {
		if err := answers(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
