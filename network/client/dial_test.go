package client_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/quintet-os/quintet/network/client"
	"github.com/quintet-os/quintet/network/client/frames"
	"github.com/quintet-os/quintet/network/dns"
	"github.com/quintet-os/quintet/network/networktest"
)

// What a net.Dialer says is done, or refused by name.
func TestDialWith(t *testing.T) {
	p := networktest.New(t).Pair()
	l, err := p.B.Listen("tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, at := p.A.(*client.Stack), netip.AddrPortFrom(p.IPs[0], 7).String()
	c, err := s.DialWith(t.Context(), &net.Dialer{LocalAddr: &net.TCPAddr{Port: 4711}}, "tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.LocalAddr().(*net.TCPAddr).Port; got != 4711 {
		t.Errorf("dialled from port %d", got)
	}
	var address *net.AddrError
	var unknown net.UnknownNetworkError
	for name, check := range map[string]struct {
		d       net.Dialer
		network string
		is      func(error) bool
	}{
		"an address of TCP for UDP": {net.Dialer{LocalAddr: &net.TCPAddr{Port: 1}}, "udp", func(err error) bool { return errors.As(err, &address) }},
		"control of a descriptor": {net.Dialer{Control: func(string, string, syscall.RawConn) error { return nil }}, "tcp",
			func(err error) bool { return errors.Is(err, client.ErrNotSupported) }},
		"no time":       {net.Dialer{Deadline: time.Unix(1, 0)}, "tcp", func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
		"a Unix socket": {net.Dialer{}, "unix", func(err error) bool { return errors.As(err, &unknown) }},
	} {
		if c, err := s.DialWith(t.Context(), &check.d, check.network, at); err == nil || !check.is(err) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}

// An address of one family that nobody answers at does not keep a program from the
// other one.
func TestFallback(t *testing.T) {
	r := networktest.New(t)
	host := networktest.Host(1)
	m := r.Join(host, networktest.StackBuffers)
	port, err := frames.NewPort(m.Client, m.Region, m.Buffers)
	if err != nil {
		t.Fatal(err)
	}
	cfg := networktest.StackConfig(host)
	nobody, somebody := networktest.Host(3).Addresses, networktest.Host(2).Addresses
	cfg.Names = func(context.Context, string) (dns.Entry, error) {
		return dns.Entry{Own: true, Addresses: []netip.Addr{nobody[1], somebody[0]}}, nil
	}
	s, err := client.NewStack(port, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abort()
	peer := r.Stack(2)
	r.Serve()
	l, err := peer.Listen("tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := s.DialWith(ctx, &net.Dialer{FallbackDelay: time.Millisecond}, "tcp", "db:7")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(); got != somebody[0] {
		t.Errorf("connected to %v", got)
	}
	if _, err := s.DialWith(ctx, &net.Dialer{FallbackDelay: -1}, "tcp4", "db:7"); err != nil {
		t.Errorf("the one address of a family: %v", err)
	}
}
