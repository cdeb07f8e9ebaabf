package client_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"reflect"
	"testing"

	"github.com/quintet-os/quintet/network/client"
	"github.com/quintet-os/quintet/network/client/frames"
	"github.com/quintet-os/quintet/network/dns"
	"github.com/quintet-os/quintet/network/networktest"
)

// known are the names of a network with one domain.
func known(name string, a ...netip.Addr) dns.Names {
	return func(_ context.Context, asked string) (dns.Entry, error) {
		if asked == name {
			return dns.Entry{Own: true, Addresses: a}, nil
		}
		return dns.Entry{}, nil
	}
}

// named adds host n to the rig, with a stack that resolves names.
func named(t *testing.T, r *networktest.Rig, n int, names dns.Names, resolvers ...netip.AddrPort) *client.Stack {
	t.Helper()
	host := networktest.Host(n)
	m := r.Join(host, networktest.StackBuffers)
	port, err := frames.NewPort(m.Client, m.Region, m.Buffers)
	if err != nil {
		t.Fatal(err)
	}
	cfg := networktest.StackConfig(host)
	cfg.Names, cfg.Resolvers = names, resolvers
	s, err := client.NewStack(port, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Abort(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// serveNames answers datagrams at port 53 of a stack.
func serveNames(t *testing.T, s *client.Stack, names dns.Names) {
	t.Helper()
	socket, err := s.ListenPacket("udp", ":53")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	go func() {
		a := dns.Answerer{Names: names}
		for b := make([]byte, 4096); ; {
			n, from, err := socket.ReadFrom(b)
			if err != nil {
				return
			}
			socket.WriteTo(a.AnswerDatagram(context.Background(), b[:n]), from)
		}
	}()
}

// Names of the network are known at once, others by asking a resolver over the stack,
// and connections can be made by name.
func TestNames(t *testing.T) {
	rig := networktest.New(t)
	peer, far := networktest.Host(2).Addresses, []netip.Addr{netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8::9")}
	// At the first resolver nobody listens.
	a := named(t, rig, 1, known("web", peer...), netip.AddrPortFrom(peer[0], 54), netip.AddrPortFrom(peer[1], 53))
	b := rig.Stack(2)
	serveNames(t, b, known("far.example", far...))
	rig.Serve()
	for name, want := range map[string][]netip.Addr{"web": peer, "WEB.": peer, "far.example": far, "far.example.": far, "10.9.8.7": {netip.MustParseAddr("10.9.8.7")}} {
		got, err := a.LookupNetIP(t.Context(), name)
		if len(got) == 2 && got[0].Is6() { // package net sorts them by what the host can reach
			got = []netip.Addr{got[1], got[0]}
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, want)
		}
	}
	if got, err := a.Resolver().LookupNetIP(t.Context(), "ip4", "web."); err != nil || len(got) != 1 || got[0] != peer[0] {
		t.Errorf("Resolver: %v, %v", got, err)
	}
	for _, s := range []*client.Stack{a, b} {
		var unknown *net.DNSError
		if got, err := s.LookupNetIP(t.Context(), "wob"); !errors.As(err, &unknown) || !unknown.IsNotFound || unknown.Name != "wob" {
			t.Errorf("an unknown name: %v, %v", got, err)
		}
	}
	l, err := b.Listen("tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, network := range []string{"tcp", "tcp4", "tcp6"} {
		c, err := a.DialContext(t.Context(), network, "web:7")
		if err != nil {
			t.Fatalf("%s: %v", network, err)
		}
		c.Close()
	}
}

// A lookup ends with its context.
func TestLookupEnds(t *testing.T) {
	rig := networktest.New(t)
	asked := make(chan struct{}, 16)
	a := named(t, rig, 1, nil, netip.AddrPortFrom(networktest.Host(2).Addresses[0], 53))
	serveNames(t, rig.Stack(2), func(ctx context.Context, _ string) (dns.Entry, error) {
		asked <- struct{}{}
		<-t.Context().Done()
		return dns.Entry{}, ctx.Err()
	})
	rig.Serve()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if got, err := a.LookupNetIP(ctx, "far.example"); err == nil || ctx.Err() == nil {
		t.Errorf("got %v, %v of a resolver that does not answer", got, err)
	}
}
