package tap_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/quintet-os/quintet/gateway/tap"
	"github.com/quintet-os/quintet/network/networktest"
)

// datagrams are more than the rings of a port hold, and fewer than the kernel keeps for a
// neighbour that it asks for.
const datagrams = 2*buffers + 22

// TestLastDatagrams: what was sent before the end arrives, though nobody has taken it by
// then, since the server is dead, or the neighbour is silent.
func TestLastDatagrams(t *testing.T) {
	to := networktest.Host(2).Addresses
	for kind, pair := range map[string]bool{"TAP": false, "pair": true} {
		t.Run(kind, func(t *testing.T) {
			t.Run("dead server", func(t *testing.T) { lastDatagrams(t, pair, to[0], datagrams, false, false) })
			t.Run("dead server IPv6", func(t *testing.T) { lastDatagrams(t, pair, to[1], datagrams, false, false) })
			t.Run("dead server, known neighbour", func(t *testing.T) { lastDatagrams(t, pair, to[0], datagrams, true, false) })
			t.Run("dead server, a few", func(t *testing.T) { lastDatagrams(t, pair, to[0], 5, true, false) })
			t.Run("silent neighbour", func(t *testing.T) { lastDatagrams(t, pair, to[0], datagrams, false, true) })
		})
	}
}

func lastDatagrams(t *testing.T, pair bool, to netip.Addr, count int, known, silent bool) {
	rig := networktest.New(t)
	// The other has room for all of them, however long it may sleep.
	g, other := openGateway(t, rig, 1, pair, buffers), openGateway(t, rig, 2, false, 4*buffers)
	closeAtEnd(t, other)
	var receiver net.PacketConn
	if err := other.Do(func() (err error) {
		receiver, err = net.ListenPacket("udp", netip.AddrPortFrom(to, 9).String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	if known {
		rig.Serve()
		send(t, g, to, 1)
		receive(t, receiver, 1)
		rig.Kill()
		rig.Succeed()
	}
	mend := rig.Serve
	if silent {
		rig.Serve()
		answerARP(t, other, false)
		mend = func() { answerARP(t, other, true) }
	}
	send(t, g, to, count)
	ended := make(chan error, 1)
	go func() { ended <- errors.Join(g.Drain(t.Context()), g.Close()) }()
	select {
	case err := <-ended:
		t.Fatalf("it has ended with frames that nobody has taken: %v", err)
	case <-time.After(200 * time.Millisecond): // it does not
	}
	mend()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	receive(t, receiver, count)
}

// answerARP says whether a gateway's kernel answers for its addresses.
func answerARP(t *testing.T, g *tap.Gateway, answer bool) {
	t.Helper()
	value := "8"
	if answer {
		value = "0"
	}
	if err := g.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/conf/eth0/arp_ignore", []byte(value), 0)
	}); err != nil {
		t.Fatal(err)
	}
}

func send(t *testing.T, g *tap.Gateway, to netip.Addr, count int) {
	t.Helper()
	if err := g.Do(func() error {
		c, err := net.Dial("udp", netip.AddrPortFrom(to, 9).String())
		for i := 0; i < count && err == nil; i++ {
			_, err = c.Write([]byte("datagram"))
		}
		return errors.Join(err, c.Close())
	}); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, from net.PacketConn, count int) {
	t.Helper()
	_ = from.SetReadDeadline(time.Now().Add(20 * time.Second))
	for i := range count {
		if _, _, err := from.ReadFrom(make([]byte, 100)); err != nil {
			t.Fatalf("datagram %d of %d: %v", i+1, count, err)
		}
	}
}
