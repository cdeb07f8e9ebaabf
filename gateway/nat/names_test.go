package nat_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/quintet-os/quintet/gateway/nat"
	"github.com/quintet-os/quintet/network/dns"
)

func TestResolverIsPort53OfTheGateway(t *testing.T) {
	resolver, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer resolver.Close()
	go echoPackets(resolver)
	s := start(t, func(c *nat.Config) {
		c.Resolvers = dns.Fixed(resolver.LocalAddr().(*net.UDPAddr).AddrPort())
	})
	for _, ip := range s.own {
		ask(t, s.guest, netip.AddrPortFrom(ip, 53).String(), "a question")
	}
}

// TestNames: port 53 of the gateway answers for the domains of the network by datagrams
// and streams, and passes other questions on.
func TestNames(t *testing.T) {
	inside, outside := netip.MustParseAddr("10.0.0.77"), netip.MustParseAddr("192.0.2.77")
	known := func(name string, a netip.Addr) dns.Names {
		return func(_ context.Context, asked string) (dns.Entry, error) {
			if asked == name {
				return dns.Entry{Own: true, Addresses: []netip.Addr{a}}, nil
			}
			return dns.Entry{}, nil
		}
	}
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	go func() { // the world's resolver
		world := dns.Answerer{Names: known("far.example", outside)}
		for b := make([]byte, 4096); ; {
			n, from, err := socket.ReadFrom(b)
			if err != nil {
				return
			}
			socket.WriteTo(world.AnswerDatagram(context.Background(), b[:n]), from)
		}
	}()
	s := start(t, func(c *nat.Config) {
		c.Names = known("web", inside)
		c.Resolvers = dns.Fixed(socket.LocalAddr().(*net.UDPAddr).AddrPort())
	})
	for _, ip := range s.own {
		for _, network := range []string{"udp", "tcp"} {
			r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return s.guest.DialContext(ctx, network, netip.AddrPortFrom(ip, 53).String())
			}}
			for name, want := range map[string]netip.Addr{"web.": inside, "far.example.": outside} {
				if got, err := r.LookupNetIP(t.Context(), "ip4", name); err != nil || len(got) != 1 || got[0] != want {
					t.Errorf("%s by %s at %v: %v, %v", name, network, ip, got, err)
				}
			}
			var unknown *net.DNSError
			if got, err := r.LookupNetIP(t.Context(), "ip4", "wob."); !errors.As(err, &unknown) || !unknown.IsNotFound {
				t.Errorf("an unknown name by %s at %v: %v, %v", network, ip, got, err)
			}
		}
	}
}
