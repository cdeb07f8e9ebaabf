package server_test

import (
	"testing"
	"time"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/networktest"
)

// What lies in a ring keeps its session from sleeping.
func TestPostedBuffersAreTakenAtOnce(t *testing.T) {
	b := newBench(t, hosts(1)...)
	b.Step()
	if n := b.sides[0].Session.Out(network.RingPost).Available(); n != 0 {
		t.Errorf("%d posted buffers are left in the ring", n)
	}
}

// expectSleep asserts that the server would sleep although frames lie in rings, and
// how often it would wake up, and work, in a time in which nobody else does anything.
func expectSleep(t *testing.T, b *bench, span time.Duration, wakesMax int) {
	t.Helper()
	b.Settle()
	if n := b.Awake(); n != 0 {
		t.Errorf("%d sessions keep the server awake", n)
	}
	wakes := 0
	for end := b.Now + span; ; {
		at, ok := b.Core.Deadline()
		if !ok || at > end {
			break
		}
		if at < b.Now {
			t.Fatalf("at %v, the server wants to be woken at %v", b.Now, at)
		}
		b.Now = at
		wakes++
		b.Settle()
		if n := b.Awake(); n != 0 {
			t.Fatalf("at %v, %d sessions keep the server awake", b.Now, n)
		}
	}
	if wakes > wakesMax {
		t.Errorf("the server wakes up %d times in %v, more than %d", wakes, span, wakesMax)
	}
}

// Whoever waits, for whatever reason, does not keep the server on the processor.
func TestWaitingCostsNothing(t *testing.T) {
	const second = int(time.Second / time.Millisecond) // looks at a receiver that may be held itself
	stuff := func(from, to *side) {
		for n := 0; from.port.Send(network.Offload{}, from.to(to, n)); n++ {
		}
	}
	t.Run("for a full receiver", func(t *testing.T) {
		b := newBench(t, hosts(3)...)
		b.sides[0].send(b.sides[0].to(b.sides[2], 0))
		fill(b.sides[0], b.sides[1])
		stuff(b.sides[0], b.sides[1])
		expectSleep(t, b, time.Second, 25) // patienceMax, and it is over
	})
	t.Run("alone", func(t *testing.T) {
		b := newBench(t, hosts(2)...)
		fill(b.sides[0], b.sides[1])
		stuff(b.sides[0], b.sides[1])
		expectSleep(t, b, time.Second, 105) // aloneMax
	})
	t.Run("for each other", func(t *testing.T) {
		b := newBench(t, hosts(2)...)
		fill(b.sides[0], b.sides[1])
		fill(b.sides[1], b.sides[0])
		stuff(b.sides[0], b.sides[1])
		stuff(b.sides[1], b.sides[0])
		expectSleep(t, b, time.Second, 2*105)
	})
	t.Run("for its rate", func(t *testing.T) {
		cfg := networktest.Host(1)
		cfg.Rate = network.RateMin
		b := newBench(t, cfg, networktest.Host(2))
		big := networktest.IPv4(networktest.Host(2).MAC, cfg.MAC, cfg.Addresses[0], networktest.Host(2).Addresses[0], 17, make([]byte, 1400))
		for spent := int64(0); spent < cfg.RateBurst(); spent += int64(len(big)) {
			b.sides[0].send(big)
			b.Settle()
			b.sides[1].received()
		}
		b.sides[0].send(big)
		expectSleep(t, b, time.Second, 1)
	})
	t.Run("for its floods", func(t *testing.T) {
		b := newBench(t, hosts(2)...)
		a := b.sides[0]
		for _, held := b.Core.Deadline(); !held; _, held = b.Core.Deadline() {
			for a.port.Send(network.Offload{}, networktest.ARP(network.Broadcast, a.Config.MAC, 1, a.Config.MAC, a.v4(), network.MAC{}, a.v4())) {
			}
			b.Settle()
		}
		expectSleep(t, b, time.Millisecond, 20) // floodRate
	})
	t.Run("for a reply that nobody gives", func(t *testing.T) {
		b := newBench(t, hosts(2)...)
		if _, err := b.sides[0].Client.Start(t.Context(), &ipc.Words{1}); err != nil {
			t.Fatal(err)
		}
		expectSleep(t, b, time.Second, 0)
		f := b.sides[0].to(b.sides[1], 1)
		b.sides[0].send(f)
		b.expect(f, 1)
	})
	t.Run("for a successor", func(t *testing.T) {
		b := newBench(t, hosts(2)...)
		b.Core.Drain()
		b.sides[0].send(b.sides[0].to(b.sides[1], 1))
		expectSleep(t, b, time.Second, 0)
	})
	t.Run("for a region", func(t *testing.T) {
		b := newBench(t, hosts(2)...)
		b.sides[0].Session.RemoveRegion(network.RegionID) // buffers are posted already
		expectSleep(t, b, 2*time.Second, 2*second)
		if b.sides[0].Session.Err() == nil {
			t.Error("who never grants a region keeps its port")
		}
	})
	t.Run("for nothing any more", func(t *testing.T) {
		b := newBench(t, hosts(2)...)
		b.sides[0].Client.Out(network.RingSend).Push(&ipc.Descriptor{1 << 63})
		b.sides[0].Client.Out(network.RingSend).Publish()
		b.sides[0].send(b.sides[0].to(b.sides[1], 1))
		expectSleep(t, b, time.Second, 0)
	})
	t.Run("for a neighbour who is slow to take", func(t *testing.T) {
		// One that posts buffers and never gives back the places of received frames.
		b := newBench(t, hosts(2)...)
		fill(b.sides[0], b.sides[1])
		stuff(b.sides[0], b.sides[1])
		post := b.sides[1].Client.Out(network.RingPost)
		for n := range testBuffers {
			f := network.Frame{Offset: network.ReceiveBuffer(testBuffers, n), Length: network.BufferBytes}
			d := f.Encode()
			post.Push(&d)
		}
		post.Publish()
		expectSleep(t, b, time.Second, 105)
	})
}
