package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/network/client"
	"github.com/quintet-os/quintet/network/client/frames"
	"github.com/quintet-os/quintet/network/networktest"
)

// connected returns a connection from A to B.
func connected(t *testing.T, p networktest.Peers) (a, b *client.TCPConn) {
	t.Helper()
	l, err := p.B.Listen("tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := p.A.DialContext(t.Context(), "tcp", netip.AddrPortFrom(p.IPs[0], 7).String())
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c.(*client.TCPConn), d.(*client.TCPConn)
}

// What was written before a stack is closed arrives whole, however slowly it is read,
// and then the end; with the connection closed before or not.
func TestCloseDeliversEverything(t *testing.T) {
	for _, closed := range []bool{true, false} {
		p := networktest.New(t).Pair()
		a, b := connected(t, p)
		want := bytes.Repeat([]byte("0123456789abcdef"), 300_000)
		if err := a.SetWriteBuffer(len(want)); err != nil {
			t.Fatal(err)
		}
		got := make(chan []byte)
		begin := make(chan struct{})
		go func() {
			<-begin
			all, err := io.ReadAll(b)
			if err != nil {
				t.Errorf("reading: %v", err)
			}
			got <- all
		}()
		go func() { // Write may find the buffers full
			<-time.After(10 * time.Millisecond)
			close(begin)
		}()
		if _, err := a.Write(want); err != nil {
			t.Fatal(err)
		}
		if closed {
			a.Close()
		}
		if err := p.A.(*client.Stack).Close(); err != nil {
			t.Errorf("closing the stack: %v", err)
		}
		if all := <-got; !bytes.Equal(all, want) {
			t.Errorf("%d of %d bytes have arrived", len(all), len(want))
		}
		if _, err := a.Write(want); !errors.Is(err, net.ErrClosed) {
			t.Errorf("writing after the end: %v", err)
		}
	}
}

// A peer that reads nothing does not hold up a program for longer than it will wait.
func TestShutdownEndsWithItsContext(t *testing.T) {
	p := networktest.New(t).Pair()
	a, b := connected(t, p)
	for full := false; !full; { // until nothing more is taken for a while
		a.SetDeadline(time.Now().Add(500 * time.Millisecond))
		n, err := a.Write(make([]byte, 1<<20))
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		full = n == 0
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := p.A.(*client.Stack).Shutdown(ctx)
	if !errors.Is(err, client.ErrUndelivered) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutting down: %v", err)
	}
	b.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.Copy(io.Discard, b); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the peer was told: %v", err)
	}
}

// A session that ends tells everybody who waits, and who comes later, why.
func TestEndOfTheLinkIsTold(t *testing.T) {
	r := networktest.New(t)
	host := networktest.Host(1)
	m := r.Join(host, networktest.StackBuffers)
	port, err := frames.NewPort(m.Client, m.Region, m.Buffers)
	if err != nil {
		t.Fatal(err)
	}
	s, err := client.NewStack(port, networktest.StackConfig(host))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abort()
	peer := r.Stack(2)
	r.Serve()
	near, _ := connected(t, networktest.Peers{A: s, B: peer, IPs: networktest.Host(2).Addresses})
	l, err := s.Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	u, err := s.ListenPacket("udp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	nobody := netip.AddrPortFrom(networktest.Host(3).Addresses[0], 1).String()
	waits := map[string]func() error{
		"Accept": func() error { _, err := l.Accept(); return err },
		"Read":   func() error { _, err := near.Read(make([]byte, 1)); return err },
		"Write": func() error {
			for {
				if _, err := near.Write(make([]byte, 1<<20)); err != nil {
					return err
				}
			}
		},
		"ReadFrom": func() error { _, _, err := u.ReadFrom(make([]byte, 1)); return err },
		"Dial":     func() error { _, err := s.Dial("tcp", nobody); return err },
	}
	type result struct {
		name string
		err  error
	}
	results := make(chan result)
	for name, f := range waits {
		go func() { results <- result{name, f()} }()
	}
	m.Client.Fail(ipc.ReasonRevoked, "the supervisor has gone")
	check := func(name string, err error) {
		t.Helper()
		var op *net.OpError
		var ended *ipc.SessionError
		if !errors.As(err, &op) || !errors.As(err, &ended) || !strings.Contains(err.Error(), "the supervisor has gone") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for range waits {
		r := <-results
		check(r.name, r.err)
	}
	for name, f := range waits {
		check(name+" afterwards", f())
	}
}

// A peer that has gone without a word is noticed by keep-alive.
func TestKeepAliveFindsThatThePeerHasGone(t *testing.T) {
	r := networktest.New(t)
	p := r.Pair()
	a, _ := connected(t, p)
	k := net.KeepAliveConfig{Enable: true, Idle: 20 * time.Millisecond, Interval: 20 * time.Millisecond, Count: 3}
	if err := a.SetKeepAliveConfig(k); err != nil {
		t.Fatal(err)
	}
	r.Kill() // nothing comes through any more
	defer r.Replace()
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("reading from a peer that has gone: %v", err)
	}
}

// Whoever goes tells those who go later: the second of two stacks that are closed waits
// for nobody, though the connections were open.
func TestStacksAreClosedOneAfterTheOther(t *testing.T) {
	for range 20 {
		p := networktest.New(t).Pair()
		a, b := connected(t, p)
		if _, err := a.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(b, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		for _, s := range []networktest.Network{p.A, p.B} {
			if err := s.(*client.Stack).Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
