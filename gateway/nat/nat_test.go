package nat_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quintet-os/quintet/gateway/nat"
	"github.com/quintet-os/quintet/internal/netns"
	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/client"
	"github.com/quintet-os/quintet/network/client/frames"
	"github.com/quintet-os/quintet/network/link/pump"
	"github.com/quintet-os/quintet/network/link/tap"
	"github.com/quintet-os/quintet/network/networktest"
)

const (
	buffers  = 64
	patience = 2 * time.Minute // a bound for what hangs; TCP alone may need long where processors are scarce
)

// Addresses of the world as guests see them; they lead to the loopback interface.
var world = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}

func loopback(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.IPv6Loopback()
}

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	to := netip.MustParseAddrPort(address)
	return new(net.Dialer).DialContext(ctx, network, netip.AddrPortFrom(loopback(to.Addr()), to.Port()).String())
}

type system struct {
	rig     *networktest.Rig
	gateway *nat.Gateway
	guest   *client.Stack
	own     []netip.Addr // of the gateway
}

func port(t *testing.T, rig *networktest.Rig, cfg network.PortConfig) *frames.Port {
	t.Helper()
	m := rig.Join(cfg, buffers)
	p, err := frames.NewPort(m.Client, m.Region, m.Buffers)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// start runs a switch with a gateway, number 1, and a guest, number 2.
func start(t *testing.T, change func(*nat.Config)) *system {
	t.Helper()
	s := &system{rig: networktest.New(t)}
	host := networktest.Host(1)
	s.own = host.Addresses
	cfg := nat.Config{MAC: host.MAC, MTU: host.MTU, Addresses: networktest.StackConfig(host).Addresses, Dial: dial,
		Port: port(t, s.rig, network.PortConfig{MAC: host.MAC, MTU: host.MTU, Uplink: true})}
	if change != nil {
		change(&cfg)
	}
	var err error
	if s.gateway, err = nat.New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.gateway.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("%+v", s.gateway.Counters())
		}
	})
	own := networktest.Host(2)
	guest := networktest.StackConfig(own)
	guest.Gateways = host.Addresses
	if s.guest, err = client.NewStack(port(t, s.rig, own), guest); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.guest.Abort() })
	s.rig.Serve()
	return s
}

// echo serves connections that get back what they send, until they stop sending.
func echo(t *testing.T, ip netip.Addr) (l net.Listener, accepted *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(loopback(ip), 0).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	accepted = new(atomic.Int64)
	go serveEcho(l, accepted)
	return l, accepted
}

func serveEcho(l net.Listener, accepted *atomic.Int64) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		accepted.Add(1)
		go func() {
			io.Copy(c, c)
			c.Close()
		}()
	}
}

// echoPackets serves datagrams likewise.
func echoPackets(c net.PacketConn) {
	for b := make([]byte, 65536); ; {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		c.WriteTo(b[:n], from)
	}
}

func at(ip netip.Addr, a net.Addr) string {
	return netip.AddrPortFrom(ip, netip.MustParseAddrPort(a.String()).Port()).String()
}

// exchange sends n random bytes and expects them back.
func exchange(c net.Conn, n int) error {
	c.SetDeadline(time.Now().Add(patience))
	sent := make(chan [32]byte, 1)
	failed := make(chan error, 1)
	go func() {
		hash, b := sha256.New(), make([]byte, 32<<10)
		r := rand.NewChaCha8([32]byte{})
		for left := n; left > 0; {
			piece := b[:min(left, len(b))]
			r.Read(piece)
			hash.Write(piece)
			if _, err := c.Write(piece); err != nil {
				failed <- err
				break
			}
			left -= len(piece)
		}
		sent <- [32]byte(hash.Sum(nil))
		if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			failed <- err
		}
	}()
	hash := sha256.New()
	got, err := io.Copy(hash, c)
	if err == nil && (got != int64(n) || [32]byte(hash.Sum(nil)) != <-sent) {
		err = errors.New("what came back is not what was sent")
	}
	select {
	case other := <-failed:
		err = errors.Join(err, other)
	default:
	}
	return err
}

func TestGuestsReachTheWorld(t *testing.T) {
	s := start(t, nil)
	for _, ip := range world {
		l, _ := echo(t, ip)
		for _, n := range []int{0, 1, 3 << 20} {
			c, err := s.guest.Dial("tcp", at(ip, l.Addr()))
			if err != nil {
				t.Fatal(err)
			}
			if err := exchange(c, n); err != nil {
				t.Errorf("%v, %d bytes: %v", ip, n, err)
			}
			c.Close()
		}
		l.Close()
		if c, err := s.guest.Dial("tcp", at(ip, l.Addr())); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%v: a port that nobody listens on: %v, %v", ip, c, err)
		}
	}
}

func TestDatagrams(t *testing.T) {
	s := start(t, nil)
	for _, ip := range world {
		socket, err := net.ListenPacket("udp", netip.AddrPortFrom(loopback(ip), 0).String())
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		go echoPackets(socket)
		for range 5 {
			ask(t, s.guest, at(ip, socket.LocalAddr()), "datagram")
		}
	}
	if c := s.gateway.Counters(); c.Pairs != 10 {
		t.Errorf("%+v", c)
	}
}

// ask sends datagrams until one comes back.
func ask(t *testing.T, from networktest.Network, to, text string) {
	t.Helper()
	c, err := from.DialContext(t.Context(), "udp", to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, 100)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		c.SetReadDeadline(time.Now().Add(time.Second))
		n, err := c.Read(b)
		if err == nil && string(b[:n]) == text {
			return
		}
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%s: %q, %v", to, b[:n], err)
		}
	}
	t.Fatalf("%s: no answer", to)
}

func TestGuestsDoNotReachTheHost(t *testing.T) {
	s := start(t, func(c *nat.Config) {
		c.Dial = func(_ context.Context, network, address string) (net.Conn, error) {
			t.Errorf("the host has connected to %s", address)
			return nil, errors.New("no")
		}
	})
	for _, to := range []string{"10.0.0.1:80", "10.0.0.1:53", "[fd00::1]:22", "169.254.169.254:80", "0.1.2.3:80", "[64:ff9b::7f00:1]:80", "[::7f00:1]:80", "[::ffff:127.0.0.1]:80"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if c, err := s.guest.DialContext(ctx, "tcp", to); err == nil {
			t.Errorf("%s: connected to %v", to, c.RemoteAddr())
		}
		cancel()
	}
}

func TestPublishedPorts(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := netip.AddrPortFrom(networktest.Host(2).Addresses[0], 80)
	s := start(t, func(c *nat.Config) {
		c.Publish = []nat.Publish{{Network: "tcp", To: to.String(), Listener: listener}, {Network: "udp", To: to.String(), Socket: socket}}
	})
	web, err := s.guest.Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	defer web.Close()
	var accepted atomic.Int64
	go serveEcho(web, &accepted)
	packets, err := s.guest.ListenPacket("udp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	go echoPackets(packets)
	for range 3 {
		c, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := exchange(c, 1<<20); err != nil {
			t.Error(err)
		}
		c.Close()
		ask(t, new(hostNetwork), socket.LocalAddr().String(), "from the world")
	}
	if accepted.Load() != 3 {
		t.Errorf("%d connections", accepted.Load())
	}
}

// hostNetwork is the network of the host.
type hostNetwork struct{ net.Dialer }

func (*hostNetwork) Listen(network, address string) (net.Listener, error) {
	return net.Listen(network, address)
}

func (*hostNetwork) ListenPacket(network, address string) (net.PacketConn, error) {
	return net.ListenPacket(network, address)
}

// TestServerDies: connections go on while the network server is replaced, and the
// host's sockets never notice: none is opened anew.
func TestServerDies(t *testing.T) {
	s := start(t, nil)
	l, accepted := echo(t, world[0])
	const connections, deaths = 4, 40
	results := make(chan error, connections)
	for range connections {
		c, err := s.guest.Dial("tcp", at(world[0], l.Addr()))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		go func() { results <- exchange(c, 16<<20) }()
	}
	killed := 0
	for done := 0; done < connections; {
		select {
		case err := <-results:
			if err != nil {
				t.Error(err)
			}
			done++
		case <-time.After(20 * time.Millisecond):
			if killed++; killed <= deaths {
				s.rig.Kill()
				s.rig.Succeed()
				s.rig.Serve()
			}
		}
	}
	t.Logf("%d deaths", min(killed, deaths))
	if n := accepted.Load(); n != connections || killed == 0 {
		t.Errorf("the world has seen %d connections, want %d, over %d deaths", n, connections, killed)
	}
}

// TestEcho: the world answers echo requests of guests, by sockets without privileges.
func TestEcho(t *testing.T) {
	testenv.RequireRoot(t)
	outside, err := netns.New()
	if err != nil {
		testenv.Skip(t, err.Error())
	}
	defer outside.Close()
	lo := netns.Interface{Name: "lo"}
	for _, ip := range world {
		lo.Addresses = append(lo.Addresses, netip.PrefixFrom(ip, ip.BitLen()))
	}
	if err := outside.Configure(lo); err != nil {
		t.Fatal(err)
	}
	if err := outside.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 2147483647"), 0)
	}); err != nil {
		t.Fatal(err)
	}
	s := start(t, func(c *nat.Config) {
		c.Ping = func(to netip.Addr) (conn net.Conn, err error) {
			err = outside.Do(func() error {
				conn, err = nat.Ping(to)
				return err
			})
			return conn, err
		}
	})
	guest := kernelGuest(t, s)
	for _, ip := range world {
		var out strings.Builder
		ping := exec.Command("ping", "-c", "3", "-i", "0.05", "-s", "500", "-w", "20", ip.String())
		ping.Stdout, ping.Stderr = &out, &out
		if err := guest.Start(ping); err != nil {
			t.Fatal(err)
		}
		if err := ping.Wait(); err != nil || !strings.Contains(out.String(), "3 received") {
			t.Errorf("%v: %s", err, out.String())
		}
	}
	if c := s.gateway.Counters(); c.Echoes < 6 {
		t.Errorf("%+v", c)
	}
}

// kernelGuest is a guest, number 3, with the kernel's stack. It restarts the server.
func kernelGuest(t *testing.T, s *system) *netns.Namespace {
	t.Helper()
	if _, err := exec.LookPath("ping"); err != nil {
		testenv.Skip(t, err.Error()+"; see tools/packages.txt")
	}
	guest, err := netns.New()
	if err != nil {
		testenv.Skip(t, err.Error())
	}
	t.Cleanup(func() { guest.Close() })
	host := networktest.Host(3)
	s.rig.Kill()
	p := port(t, s.rig, host)
	s.rig.Serve()
	var l *tap.Link
	err = guest.Do(func() error {
		fds, err := tap.Open("eth0", 1, false)
		if err == nil {
			l, err = tap.New(fds, host.MTU)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- pump.New(l, p).Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, l.Close()); err != nil {
			t.Error(err)
		}
	})
	if err := guest.Configure(netns.Interface{Name: "eth0", MAC: host.MAC[:], MTU: host.MTU,
		Addresses: networktest.StackConfig(host).Addresses, Gateways: s.own}); err != nil {
		t.Fatal(err)
	}
	return guest
}
