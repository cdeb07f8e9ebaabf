package networktest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// testSelf: a program reaches itself by no host, by the unspecified address, and by
// those and the name that every host has for itself.
func testSelf(t *testing.T, p Peers) {
	l, err := p.A.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, host := range []string{"", "0.0.0.0", "::", "127.0.0.1", "127.9.9.9", "::1", "localhost"} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		c, err := p.A.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
		cancel()
		if err != nil {
			t.Errorf("dialling host %q: %v", host, err)
			continue
		}
		d, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if ip := d.RemoteAddr().(*net.TCPAddr).IP; !ip.IsLoopback() {
			t.Errorf("host %q is reached from %v", host, ip)
		}
		c.Close()
		d.Close()
	}
	if c, err := p.B.DialContext(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", port)); err == nil && p.A != p.B {
		c.Close()
		t.Error("another program is reached by the address for itself")
	}
}

// testTimeouts: an operation that a context ends has the context's error, and says
// whether time was the reason.
func testTimeouts(t *testing.T, p Peers) {
	check := func(what string, err, is error, timeout bool) {
		t.Helper()
		var n net.Error
		if !errors.Is(err, is) || !errors.As(err, &n) || n.Timeout() != timeout {
			t.Errorf("%s: %v", what, err)
		}
	}
	passed, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-passed.Done()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	each(t, p, func(t *testing.T, family string, ip netip.Addr) {
		at := netip.AddrPortFrom(ip, 1).String()
		_, err := p.A.DialContext(passed, "tcp"+family, at)
		check("dialling past the deadline", err, context.DeadlineExceeded, true)
		_, err = p.A.DialContext(ended, "tcp"+family, at)
		check("dialling when cancelled", err, context.Canceled, false)
	})
}

// testRefused: that nobody listens comes back for datagrams too, to a call that waits.
func testRefused(t *testing.T, p Peers) {
	each(t, p, func(t *testing.T, family string, ip netip.Addr) {
		gone, err := p.B.ListenPacket("udp"+family, net.JoinHostPort(ip.String(), "0"))
		if err != nil {
			t.Fatal(err)
		}
		at := gone.LocalAddr().String()
		gone.Close()
		c, err := p.A.DialContext(t.Context(), "udp"+family, at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(30 * time.Second))
		failed := make(chan error)
		go func() {
			_, err := c.Read(make([]byte, 1))
			failed <- err
		}()
		if _, err := c.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		if err := <-failed; !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("reading where nobody listens: %v", err)
		}
	})
}

// testReset: a connection that is closed without lingering is reset.
func testReset(t *testing.T, p Peers) {
	each(t, p, func(t *testing.T, family string, ip netip.Addr) {
		a, b, err := connect(p, family, ip)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if err := a.(interface{ SetLinger(int) error }).SetLinger(0); err != nil {
			t.Fatal(err)
		}
		a.Close()
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("reading from a connection that was reset: %v", err)
		}
	})
}

// testUnreadIsReset: to close a connection with bytes unread resets it, and to close
// one with bytes unsent does not.
func testUnreadIsReset(t *testing.T, p Peers) {
	each(t, p, func(t *testing.T, family string, ip netip.Addr) {
		a, b, err := connect(p, family, ip)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Write([]byte("unread")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(b, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		b.Close()
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("reading from a peer that has not read all: %v", err)
		}
		a.Close()

		if a, b, err = connect(p, family, ip); err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		want := bytes.Repeat([]byte("sent"), 100_000)
		go func() {
			if _, err := a.Write(want); err != nil {
				t.Error(err)
			}
			a.Close()
		}()
		if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d of %d bytes arrived from a connection that was closed: %v", len(got), len(want), err)
		}
	})
}
