package nat_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quintet-os/quintet/gateway/nat"
	"github.com/quintet-os/quintet/network/client"
	"github.com/quintet-os/quintet/network/networktest"
)

// connected returns both ends of a connection of the guest with the world.
func connected(t *testing.T, guest *client.Stack, ip netip.Addr) (outside *net.TCPConn, guestEnd net.Conn) {
	t.Helper()
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(loopback(ip), 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	guestEnd, err = guest.DialContext(ctx, "tcp", at(ip, l.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	if outside, err = l.AcceptTCP(); err != nil {
		t.Fatal(err)
	}
	return outside, guestEnd
}

// A connection that is reset at one end is reset at the other: a truncated stream does
// not look whole.
func TestResetsAreResets(t *testing.T) {
	s := start(t, nil)
	for _, ip := range world {
		for _, inside := range []bool{true, false} {
			outside, guest := connected(t, s.guest, ip)
			var resets, other interface {
				net.Conn
				SetLinger(int) error
			} = outside, guest.(*client.TCPConn)
			if inside {
				resets, other = other, resets
			}
			if _, err := resets.Write([]byte("the first part")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(other, make([]byte, 14)); err != nil {
				t.Fatal(err)
			}
			if err := resets.SetLinger(0); err != nil {
				t.Fatal(err)
			}
			resets.Close()
			other.SetDeadline(time.Now().Add(patience))
			if _, err := other.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%v, reset by the guest: %t; the other end reads %v", ip, inside, err)
			}
			other.Close()
		}
	}
}

// What the world answers to a request, or does not, is what the guest sees.
func TestFailuresAreToldAsTheyAre(t *testing.T) {
	var failing atomic.Value // of syscall.Errno; 0: there is no answer
	s := start(t, func(c *nat.Config) {
		c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			failure := failing.Load().(syscall.Errno)
			if failure == 0 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return nil, &net.OpError{Op: "dial", Net: network, Err: failure}
		}
	})
	for _, ip := range world {
		to := netip.AddrPortFrom(ip, 80).String()
		for failure, want := range map[syscall.Errno]syscall.Errno{
			syscall.ECONNREFUSED: syscall.ECONNREFUSED, syscall.ENETUNREACH: syscall.ENETUNREACH, syscall.EHOSTUNREACH: unreachable(ip),
		} {
			failing.Store(failure)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			if _, err := s.guest.DialContext(ctx, "tcp", to); !errors.Is(err, want) {
				t.Errorf("%v: %v, want %v", ip, err, want)
			}
			cancel()
		}
		failing.Store(syscall.Errno(0))
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if _, err := s.guest.DialContext(ctx, "tcp", to); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, no answer: %v", ip, err)
		}
		cancel()
	}
}

// unreachable is what a guest is told of a host that is not there: ICMPv6 has one word
// for it and for networks, see package client.
func unreachable(ip netip.Addr) syscall.Errno {
	if ip.Is4() {
		return syscall.EHOSTUNREACH
	}
	return syscall.ENETUNREACH
}

// A datagram that nobody takes outside comes back as refused, to a call that waits.
func TestRefusedDatagramsComeBack(t *testing.T) {
	s := start(t, nil)
	for _, ip := range world {
		gone, err := net.ListenPacket("udp", netip.AddrPortFrom(loopback(ip), 0).String())
		if err != nil {
			t.Fatal(err)
		}
		to := at(ip, gone.LocalAddr())
		gone.Close()
		c, err := s.guest.DialContext(t.Context(), "udp", to)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		failed := make(chan error)
		go func() {
			_, err := c.Read(make([]byte, 1))
			failed <- err
		}()
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if err := <-failed; !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%v: %v", ip, err)
		}
	}
}

// A published port with nobody behind it resets.
func TestPublishedPortOfNobody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	start(t, func(c *nat.Config) {
		c.Publish = []nat.Publish{{Network: "tcp", To: netip.AddrPortFrom(networktest.Host(2).Addresses[0], 80).String(), Listener: l}}
	})
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("reading: %v", err)
	}
}

// second adds another guest. It restarts the server.
func second(t *testing.T, s *system) *client.Stack {
	t.Helper()
	s.rig.Kill()
	host := networktest.Host(3)
	cfg := networktest.StackConfig(host)
	cfg.Gateways = s.own
	guest, err := client.NewStack(port(t, s.rig, host), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { guest.Abort() })
	s.rig.Succeed()
	s.rig.Serve()
	return guest
}

// A guest that takes all connections there are makes room for others, with its newest.
func TestGuestsShareConnections(t *testing.T) {
	s := start(t, func(c *nat.Config) { c.Memory = 1 }) // the least number of places
	modest := second(t, s)
	l, _ := echo(t, world[0])
	var all []net.Conn
	for {
		c, err := s.guest.Dial("tcp", at(world[0], l.Addr()))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := ping(c); err != nil {
			break // all places are taken
		}
		all = append(all, c)
	}
	if len(all) < 8 {
		t.Fatalf("a guest alone has %d connections", len(all))
	}
	for range len(all) / 2 {
		c, err := modest.Dial("tcp", at(world[0], l.Addr()))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := ping(c); err != nil {
			t.Errorf("another guest: %v", err)
		}
	}
	for i, c := range all {
		if err := ping(c); (err == nil) != (i < len(all)-len(all)/2) {
			t.Errorf("connection %d of %d of the greedy guest: %v", i, len(all), err)
		}
	}
}

// ping has a byte echoed.
func ping(c net.Conn) error {
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte{1}); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

// Requests that nobody answers do not keep other guests from connecting, and end when
// the guest gives up.
func TestOpeningsAreSharedAndEnd(t *testing.T) {
	const silent = 9
	var mu sync.Mutex
	waiting := 0
	changed := sync.NewCond(&mu)
	s := start(t, func(c *nat.Config) {
		c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if netip.MustParseAddrPort(address).Port() != silent {
				return dial(ctx, network, address)
			}
			mu.Lock()
			waiting++
			changed.Broadcast()
			mu.Unlock()
			<-ctx.Done()
			mu.Lock()
			waiting--
			changed.Broadcast()
			mu.Unlock()
			return nil, ctx.Err()
		}
	})
	modest := second(t, s)
	l, _ := echo(t, world[0])
	ctx, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	var dialling sync.WaitGroup
	for range 1500 {
		dialling.Go(func() {
			if c, err := s.guest.DialContext(ctx, "tcp", netip.AddrPortFrom(world[0], silent).String()); err == nil {
				c.Close()
				t.Error("connected to nobody")
			}
		})
	}
	await := func(done func() bool) {
		mu.Lock()
		defer mu.Unlock()
		for !done() {
			changed.Wait()
		}
	}
	await(func() bool { return waiting >= 1000 })
	for range 10 {
		c, err := modest.Dial("tcp", at(world[0], l.Addr()))
		if err != nil {
			t.Fatal(err)
		}
		if err := ping(c); err != nil {
			t.Error(err)
		}
		c.Close()
	}
	giveUp()
	dialling.Wait()
	await(func() bool { return waiting == 0 })
}
