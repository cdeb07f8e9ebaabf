package server_test

import (
	"testing"
	"time"

	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/networktest"
)

// fill sends frames until to has no empty buffer left.
func fill(from, to *side) {
	for n := range testBuffers {
		from.send(from.to(to, n))
		from.b.Settle()
	}
}

func TestAFullReceiverHoldsTheSender(t *testing.T) {
	b := newBench(t, hosts(2)...)
	from, to := b.sides[0], b.sides[1]
	fill(from, to)
	for n := range testBuffers {
		if !from.port.Send(network.Offload{}, from.to(to, n)) {
			t.Fatalf("frame %d finds the ring full too early", n)
		}
	}
	if from.port.Send(network.Offload{}, from.to(to, 99)) {
		t.Fatal("the sender is not pushed back")
	}
	b.Settle()
	if at, ok := b.Core.Deadline(); !ok || at <= b.Now {
		t.Errorf("the deadline is %v, %v", at, ok)
	}
	if got := len(to.received()); got != testBuffers {
		t.Fatalf("received %d frames", got)
	}
	b.Settle()
	if got := len(to.received()); got != testBuffers {
		t.Fatalf("received %d of the frames that waited", got)
	}
	if drops := to.drops(); drops != [network.DropsEnd]uint64{} {
		t.Errorf("drops: %v", drops)
	}
	if _, ok := b.Core.Deadline(); ok {
		t.Error("a deadline though nobody waits")
	}
}

func TestPatienceEnds(t *testing.T) {
	b := newBench(t, hosts(3)...)
	from, stuck, third := b.sides[0], b.sides[1], b.sides[2]
	from.send(from.to(third, 0))
	fill(from, stuck)
	third.received()
	from.send(from.to(stuck, 100))
	f := from.to(third, 101)
	from.send(f)
	b.Settle()
	if got := third.received(); len(got) != 0 {
		t.Fatalf("the frame behind overtook: %q", got)
	}
	b.Now += 20 * time.Millisecond
	b.Settle()
	if got := third.received(); len(got) != 1 {
		t.Fatalf("the third port received %d frames after the wait", len(got))
	}
	if n := stuck.drops()[network.DropFull]; n != 1 {
		t.Errorf("%d frames dropped for want of room", n)
	}
}

func TestWhoTalksToOneOnlyWaitsLonger(t *testing.T) {
	b := newBench(t, hosts(2)...)
	from, slow := b.sides[0], b.sides[1]
	fill(from, slow)
	from.send(from.to(slow, 100))
	b.Settle()
	b.Now += 99 * time.Millisecond
	b.Settle()
	if drops := slow.drops(); drops != [network.DropsEnd]uint64{} {
		t.Fatalf("drops while the receiver may still come: %v", drops)
	}
	b.Now += time.Millisecond
	b.Settle()
	if n := slow.drops()[network.DropFull]; n != 1 {
		t.Fatalf("%d frames dropped for want of room", n)
	}
	slow.received()
	f := from.to(slow, 101)
	from.send(f)
	b.expect(f, 1)
}

func TestFloodsNeverWait(t *testing.T) {
	b := newBench(t, hosts(3)...)
	from, stuck, third := b.sides[0], b.sides[1], b.sides[2]
	fill(from, stuck)
	from.send(networktest.ARP(network.Broadcast, from.Config.MAC, 1, from.Config.MAC, from.v4(), network.MAC{}, third.v4()))
	b.Settle()
	if got := len(third.received()); got != 1 {
		t.Errorf("the other port received %d copies", got)
	}
	if n := stuck.drops()[network.DropFlood]; n != 1 {
		t.Errorf("%d copies dropped for want of room", n)
	}
}

// A port that never empties its buffers costs those who talk to it a sixteenth
// of their time, and those who do not, nothing.
func TestAStuckPortDoesNotStallOthers(t *testing.T) {
	const tick, ticks = 10 * time.Microsecond, 100_000
	run := func(attack bool) (talker, bystander int) {
		b := newBench(t, hosts(5)...)
		from, stuck, to, other, peer := b.sides[0], b.sides[1], b.sides[2], b.sides[3], b.sides[4]
		for n := range ticks {
			if attack && n%2 == 0 {
				from.port.Send(network.Offload{}, from.to(stuck, n))
			}
			from.port.Send(network.Offload{}, from.to(to, n))
			other.port.Send(network.Offload{}, other.to(peer, n))
			b.Step()
			talker += len(to.received())
			bystander += len(peer.received())
			b.Now += tick
		}
		return talker, bystander
	}
	quietTalker, quietBystander := run(false)
	talker, bystander := run(true)
	if talker*10 < quietTalker*9 {
		t.Errorf("who talks to a stuck port delivers %d frames elsewhere, %d without it", talker, quietTalker)
	}
	if bystander != quietBystander {
		t.Errorf("a bystander delivers %d frames, %d without the stuck port", bystander, quietBystander)
	}
}

func TestRateHoldsTheSender(t *testing.T) {
	cfg := networktest.Host(1)
	cfg.Rate = 1 << 20
	b := newBench(t, cfg, networktest.Host(2))
	from, to := b.sides[0], b.sides[1]
	f := networktest.IPv4(to.Config.MAC, from.Config.MAC, from.v4(), to.v4(), 17, make([]byte, 1400))
	bytes := 0
	const seconds = 3
	for b.Now < seconds*time.Second {
		from.port.Send(network.Offload{}, f)
		b.Step()
		for _, got := range to.received() {
			bytes += len(got)
		}
		b.Now += 100 * time.Microsecond
	}
	want := seconds*int(cfg.Rate) + int(cfg.RateBurst())
	if bytes > want || bytes < want*98/100 {
		t.Errorf("%d bytes in %d s, want %d", bytes, seconds, want)
	}
	if from.drops() != to.drops() || to.drops() != [network.DropsEnd]uint64{} {
		t.Errorf("drops: %v, %v", from.drops(), to.drops())
	}
}

// A port is served few frames in a millisecond that it may not send, and its own
// frames again when that is over.
func TestAFloodOfForbiddenFramesWaits(t *testing.T) {
	const offencesMax, offenceSpan = 64, time.Millisecond
	b := newBenchOf(t, 256, hosts(2)...)
	from, to := b.sides[0], b.sides[1]
	forged := networktest.IPv4(to.Config.MAC, network.MAC{2, 9, 9, 9, 9, 9}, from.v4(), to.v4(), 17, make([]byte, 8))
	for range 3 * offencesMax {
		if !from.port.Send(network.Offload{}, forged) {
			t.Fatal("no room")
		}
	}
	from.send(from.to(to, 1))
	for span := range 3 {
		b.Settle()
		if n := from.drops()[network.DropSource]; n != uint64(span+1)*offencesMax {
			t.Errorf("%d forbidden frames served in %d spans, expected %d each", n, span+1, offencesMax)
		}
		if at, ok := b.Core.Deadline(); !ok || at != b.Now+offenceSpan {
			t.Errorf("the deadline is %v, %v", at, ok)
		}
		b.Now += offenceSpan
	}
	b.Settle()
	if got := len(to.received()); got != 1 {
		t.Errorf("%d of the port's own frames arrived", got)
	}
}
