package server_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/networktest"
)

// Bounds of the table, as the switch has them.
const learnedPort, learnedAll = 4096, 8192

var away = netip.MustParseAddr("10.9.9.9")

// outside is a frame between the world, number n of it, and a port.
func outside(n int) network.MAC { return network.MAC{2, 7, 7, byte(n >> 16), byte(n >> 8), byte(n)} }

func comes(s *side, n int, to network.MAC) []byte {
	return networktest.IPv4(to, outside(n), away, s.v4(), 17, make([]byte, 20))
}

func goes(s *side, n int) []byte {
	return networktest.IPv4(outside(n), s.Config.MAC, s.v4(), away, 17, make([]byte, 20))
}

// All addresses but those behind uplinks are registered, so frames to unknown ones
// are for uplinks, and bother nobody else.
func TestUnknownAddressesAreBehindUplinks(t *testing.T) {
	b := newBench(t, networktest.Host(1), networktest.Host(2))
	b.sides[0].send(goes(b.sides[0], 1))
	b.expect(nil)

	b = newBench(t, networktest.Host(1), networktest.Host(2), uplink(3))
	f := goes(b.sides[0], 1)
	b.sides[0].send(f)
	b.expect(f, 2)
	b.sides[2].send(comes(b.sides[0], 1, outside(2))) // both are behind the uplink
	b.expect(nil)

	b = newBench(t, networktest.Host(1), networktest.Host(2), uplink(3), uplink(4))
	f = goes(b.sides[0], 1)
	b.sides[0].send(f)
	b.expect(f, 2, 3)
	f = comes(b.sides[0], 1, outside(2))
	b.sides[2].send(f)
	b.expect(f, 3)
}

// With one uplink, a frame to the world waits for room like any other, also when a
// successor knows no address any more.
func TestFramesToTheOnlyUplinkWait(t *testing.T) {
	b := newBench(t, networktest.Host(1), uplink(2))
	host, up := b.sides[0], b.sides[1]
	for n := range 2 * testBuffers {
		host.send(goes(host, n))
		b.Settle()
	}
	b.Succeed()
	b.Settle()
	got := len(up.received())
	b.Settle()
	if got += len(up.received()); got != 2*testBuffers {
		t.Errorf("%d of %d frames came", got, 2*testBuffers)
	}
}

// Two neighbours behind one uplink are both remembered, though their frames go no
// further.
func TestFilteredFramesAreLearnedFrom(t *testing.T) {
	b := newBench(t, networktest.Host(1), uplink(2), uplink(3))
	host, up := b.sides[0], b.sides[1]
	up.send(comes(host, 1, host.Config.MAC))
	b.Settle()
	host.received()
	for range 3 {
		up.send(comes(host, 2, outside(1)))
		b.expect(nil)
		b.Now += 200 * time.Second
		up.send(comes(host, 1, outside(2)))
		b.expect(nil)
		b.Now += 200 * time.Second
	}
	if n := up.drops()[network.DropReserved]; n != 6 {
		t.Errorf("%d frames stayed where they came from", n)
	}
}

func TestATableThatIsFull(t *testing.T) {
	b := newBench(t, networktest.Host(1), uplink(2), uplink(3), uplink(4))
	host, crowded, second, third := b.sides[0], b.sides[1], b.sides[2], b.sides[3]
	teach := func(up *side, from, to int) (refused uint64) {
		t.Helper()
		before, _ := b.Core.Counters(up.Session)
		for n := from; n < to; n++ {
			up.send(comes(host, n, host.Config.MAC))
			b.Settle()
			if got := host.received(); len(got) != 1 {
				t.Fatalf("address %d: %d frames came", n, len(got))
			}
		}
		after, _ := b.Core.Counters(up.Session)
		return after.LearnRefused - before.LearnRefused
	}
	expectAt := func(n int, sides ...int) {
		t.Helper()
		f := goes(host, n)
		host.send(f)
		b.expect(f, sides...)
	}
	if n := teach(crowded, 0, learnedPort+100); n != 100 {
		t.Errorf("%d addresses behind one uplink were refused, want 100", n)
	}
	expectAt(learnedPort-1, 1)
	expectAt(learnedPort, 1, 2, 3) // not learned: it is looked for everywhere
	if n := teach(second, 1<<16, 1<<16+learnedAll-learnedPort); n != 0 {
		t.Errorf("one uplink takes another's places: %d refused", n)
	}
	if n := teach(third, 1<<17, 1<<17+10); n != 10 {
		t.Errorf("%d addresses were refused by a full table, want 10", n)
	}
	// One that has moved behind an uplink without places is not looked for where it was.
	if n := teach(crowded, 1<<16, 1<<16+1); n != 1 {
		t.Errorf("%d refused", n)
	}
	expectAt(1<<16, 1, 2, 3)
	// Registered addresses need no place.
	f := b.sides[2].to(host, 1)
	b.sides[2].send(f)
	b.expect(f, 0)
	// What is old makes room.
	b.Now += 301 * time.Second
	if n := teach(third, 1<<17, 1<<17+10); n != 0 {
		t.Errorf("%d refused though all others are old", n)
	}
	expectAt(1<<17, 3)
	expectAt(0, 1, 2, 3)
}
