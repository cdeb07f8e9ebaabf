package dhcp_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"

	"github.com/quintet-os/quintet/internal/netns"
	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/client"
	"github.com/quintet-os/quintet/network/client/frames"
	"github.com/quintet-os/quintet/network/dhcp"
	"github.com/quintet-os/quintet/network/link"
	"github.com/quintet-os/quintet/network/link/linktest"
	"github.com/quintet-os/quintet/network/link/packet"
	"github.com/quintet-os/quintet/network/link/pump"
	"github.com/quintet-os/quintet/network/link/tap"
	"github.com/quintet-os/quintet/network/networktest"
)

const patience = time.Minute

var outside = netns.Interface{Name: "eth0", MTU: network.MTUDefault, Addresses: []netip.Prefix{netip.MustParsePrefix("10.6.0.1/24")}}

// links are ways to put a link before the interface outside of a namespace.
var links = map[string]func(t *testing.T, n *netns.Namespace) (link.Link, error){
	"tap": func(t *testing.T, n *netns.Namespace) (l link.Link, err error) {
		err = n.Do(func() error {
			fds, err := tap.Open(outside.Name, 1, false)
			if err == nil {
				l, err = tap.New(fds, outside.MTU)
			}
			return err
		})
		return l, errors.Join(err, n.Configure(outside))
	},
	"packet": func(t *testing.T, n *netns.Namespace) (l link.Link, err error) {
		inside := linktest.NewNamespace(t)
		if err := inside.Veth(netns.Interface{Name: linktest.InsideName}, n, outside); err != nil {
			return nil, err
		}
		index, err := inside.Index(linktest.InsideName)
		if err != nil {
			return nil, err
		}
		err = inside.Do(func() error {
			fd, err := packet.Open(index)
			l = packet.New(fd, linktest.InsideName, outside.MTU)
			return err
		})
		return l, err
	},
}

// dnsmasq runs in a namespace until the test ends, and waitFor waits for something in
// its log that has not been waited for.
func dnsmasq(t *testing.T, n *netns.Namespace, args ...string) (waitFor func(part string)) {
	t.Helper()
	if _, err := exec.LookPath("dnsmasq"); err != nil {
		testenv.Skip(t, err.Error()+"; see tools/packages.txt")
	}
	server := exec.Command("dnsmasq", append([]string{"--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file", "--no-resolv", "--no-hosts",
		"--bind-interfaces", "--interface=" + outside.Name, "--log-facility=-", "--log-dhcp", "--no-ping", "--dhcp-range=10.6.0.100,10.6.0.150,255.255.255.0,1h",
		"--dhcp-leasefile=" + filepath.Join(t.TempDir(), "leases")}, args...)...)
	out, err := server.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(server); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 4096)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		_ = server.Process.Kill()
		<-read
		_ = server.Wait()
	})
	waitFor = func(part string) {
		t.Helper()
		var log []string
		for timeout := time.After(patience); ; {
			select {
			case line := <-lines:
				if log = append(log, line); strings.Contains(line, part) {
					return
				}
			case <-timeout:
				t.Fatalf("dnsmasq does not say %q:\n%s", part, strings.Join(log, "\n"))
			}
		}
	}
	waitFor("DHCP, IP range")
	return waitFor
}

// uplink is a switch with a DHCP client before its uplink.
type uplink struct {
	rig    *networktest.Rig
	client *dhcp.Client
	lost   chan error
}

func newUplink(t *testing.T, l link.Link) *uplink {
	t.Helper()
	u := &uplink{rig: networktest.New(t), lost: make(chan error, 8)}
	m := u.rig.Join(network.PortConfig{MAC: network.MAC{2, 0xff, 0, 0, 0, 1}, Uplink: true}, networktest.StackBuffers)
	port, err := frames.NewPort(m.Client, m.Region, m.Buffers)
	if err != nil {
		t.Fatal(err)
	}
	p := pump.New(l, port)
	u.client = dhcp.New(dhcp.Config{Send: p.Send, Lost: func(_ network.MAC, why error) { u.lost <- why }})
	p.Filter = u.client.Filter
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	u.rig.Serve()
	t.Cleanup(func() {
		u.client.Close()
		cancel()
		if err := errors.Join(<-ended, l.Close()); err != nil {
			t.Error(err)
		}
	})
	return u
}

func (u *uplink) acquire(t *testing.T, mac network.MAC, name string) dhcp.Lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	lease, err := u.client.Acquire(ctx, mac, name)
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

// stack adds a port that has a lease, and no other address.
func (u *uplink) stack(t *testing.T, mac network.MAC, lease dhcp.Lease) *client.Stack {
	t.Helper()
	u.rig.Kill()
	m := u.rig.Join(network.PortConfig{MAC: mac, Addresses: []netip.Addr{lease.Addresses[0].Addr()}}, networktest.StackBuffers)
	u.rig.Serve()
	port, err := frames.NewPort(m.Client, m.Region, m.Buffers)
	if err != nil {
		t.Fatal(err)
	}
	s, err := client.NewStack(port, client.Config{MAC: mac, MTU: network.MTUDefault, Addresses: lease.Addresses, Gateways: lease.Gateways, Resolvers: lease.Resolvers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// A server made by others gives ports their addresses before they exist; with these, and
// the resolver that comes along, they speak to one another and to the world.
func TestDnsmasq(t *testing.T) {
	for kind, open := range links {
		t.Run(kind, func(t *testing.T) {
			world := linktest.NewNamespace(t)
			l, err := open(t, world)
			if err != nil {
				t.Fatal(err)
			}
			waitFor := dnsmasq(t, world)
			u := newUplink(t, l)
			macs := []network.MAC{{2, 0, 0, 0, 0, 7}, {2, 0, 0, 0, 0, 8}}
			one, two := u.acquire(t, macs[0], "one"), u.acquire(t, macs[1], "two")
			gateway := outside.Addresses[0].Addr()
			for _, lease := range []dhcp.Lease{one, two} {
				if p := lease.Addresses[0]; p.Masked() != outside.Addresses[0].Masked() || lease.Server != gateway ||
					!slices.Equal(lease.Gateways, []netip.Addr{gateway}) || !slices.Equal(lease.Resolvers, []netip.AddrPort{netip.AddrPortFrom(gateway, 53)}) {
					t.Errorf("lease %+v", lease)
				}
			}
			if one.Addresses[0] == two.Addresses[0] {
				t.Fatalf("both ports have %v", one.Addresses)
			}
			a, b := u.stack(t, macs[0], one), u.stack(t, macs[1], two)
			got, err := a.LookupNetIP(t.Context(), "two")
			if err != nil || !slices.Equal(got, []netip.Addr{two.Addresses[0].Addr()}) {
				t.Errorf("two is %v, %v; want %v", got, err, two.Addresses)
			}
			var listener net.Listener
			if err := world.Do(func() (err error) {
				listener, err = net.Listen("tcp", netip.AddrPortFrom(gateway, 7).String())
				return err
			}); err != nil {
				t.Fatal(err)
			}
			greet(t, listener, a, listener.Addr().String())
			if listener, err = b.Listen("tcp", ":7"); err != nil {
				t.Fatal(err)
			}
			greet(t, listener, a, "two:7")
			u.client.Release(macs[0])
			waitFor("DHCPRELEASE(" + outside.Name + ") " + one.Addresses[0].Addr().String() + " " + macs[0].String())
			if again := u.acquire(t, macs[0], "one"); again.Addresses[0] != one.Addresses[0] {
				t.Errorf("after the release %v is given instead of %v", again.Addresses, one.Addresses)
			}
		})
	}
}

// greet accepts one connection of a stack.
func greet(t *testing.T, l net.Listener, from *client.Stack, to string) {
	t.Helper()
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.WriteString(c, "welcome")
			c.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := from.DialContext(ctx, "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if text, err := io.ReadAll(c); err != nil || string(text) != "welcome" {
		t.Errorf("%s says %q, %v", to, text, err)
	}
}

// Renewals reach a server on a socket of the kernel, in unicast, and its answers come
// back through the ARP of the port's own stack to the client, not to the stack. A refusal
// ends the lease.
func TestRenewalsByUnicast(t *testing.T) {
	world := linktest.NewNamespace(t)
	l, err := links["tap"](t, world)
	if err != nil {
		t.Fatal(err)
	}
	const granted = 3
	gateway := outside.Addresses[0].Addr()
	renewals := make(chan net.Addr, 64)
	var asked atomic.Int32
	handler := func(c net.PacketConn, peer net.Addr, m *dhcpv4.DHCPv4) {
		kind := dhcpv4.MessageTypeOffer
		if m.MessageType() == dhcpv4.MessageTypeRequest {
			kind = dhcpv4.MessageTypeAck
		}
		if !m.ClientIPAddr.IsUnspecified() {
			if renewals <- peer; asked.Add(1) == granted+1 {
				kind = dhcpv4.MessageTypeNak
			}
		}
		answer := reply(sent{DHCPv4: m}, kind, dhcpv4.WithYourIP(net.IPv4(10, 6, 0, 9)), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(gateway.AsSlice())),
			dhcpv4.WithRouter(gateway.AsSlice()), dhcpv4.WithOption(dhcpv4.OptRenewTimeValue(time.Second)))
		_, _ = c.WriteTo(answer.ToBytes(), peer)
	}
	var server *server4.Server
	if err := world.Do(func() (err error) {
		server, err = server4.NewServer(outside.Name, &net.UDPAddr{Port: dhcpv4.ServerPort}, handler)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve() }()
	defer server.Close()
	u := newUplink(t, l)
	lease := u.acquire(t, mac, "one")
	u.stack(t, mac, lease)
	for n := range granted + 1 {
		select {
		case peer := <-renewals:
			if peer.String() != "10.6.0.9:68" {
				t.Errorf("a renewal comes from %v", peer)
			}
		case err := <-u.lost:
			t.Fatal(err)
		case <-time.After(patience):
			t.Fatalf("%d renewals", n)
		}
	}
	select {
	case err := <-u.lost:
		if !errors.Is(err, dhcp.KindRefused) {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("the refusal has no effect")
	}
}
