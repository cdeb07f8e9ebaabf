package server_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/networktest"
)

// Work of the server, in units of about 50 ns, as measured: to look at a frame, to
// deliver a copy, and for each KiB of it.
const lookUnits, copyUnits, kibUnits = 1, 2, 1

// work is what the server has done so far for all ports.
func (b *bench) work() (units uint64) {
	for i := range b.sides {
		c := b.counters(i)
		units += c.Sent*lookUnits + c.Received*copyUnits + c.ReceivedBytes*kibUnits>>10
		units += (c.Drops[network.DropFull] + c.Drops[network.DropFlood]) * copyUnits
	}
	return units
}

// attack keeps a port busy at another's expense; ports 0 and 1 are the attacker and
// one that takes nothing.
type attack struct {
	name string
	send func(from, stuck, victim *side) bool // false: no room
	fair bool                                 // no worse than an honest port that sends all it can
}

var attacks = []attack{
	{name: "spoofed sources", send: func(from, _, victim *side) bool {
		return from.port.Send(network.Offload{}, networktest.IPv4(victim.Config.MAC, from.Config.MAC, netip.MustParseAddr("10.66.6.6"), victim.v4(), 17, make([]byte, 20)))
	}},
	{name: "spoofed neighbours", send: func(from, _, victim *side) bool {
		return from.port.Send(network.Offload{}, networktest.IPv6(network.Broadcast, from.Config.MAC, from.Config.Addresses[1], victim.Config.Addresses[1], 58,
			networktest.Advert(victim.Config.Addresses[1], from.Config.MAC)))
	}},
	{name: "malformed frames", send: func(from, _, victim *side) bool {
		f := networktest.IPv6(victim.Config.MAC, from.Config.MAC, from.Config.Addresses[1], victim.Config.Addresses[1], 0, behind(8, 0, make([]byte, 100)))
		return from.port.Send(network.Offload{}, f[:len(f)-1])
	}},
	{name: "runts", send: func(from, _, _ *side) bool { return from.port.Send(network.Offload{}, []byte{1}) }},
	{name: "frames beyond the MTU", send: func(from, _, victim *side) bool {
		return from.port.Send(network.Offload{}, networktest.IPv4(victim.Config.MAC, from.Config.MAC, from.v4(), victim.v4(), 17, make([]byte, 60_000)))
	}},
	{name: "broadcasts", send: func(from, _, victim *side) bool {
		return from.port.Send(network.Offload{}, networktest.ARP(network.Broadcast, from.Config.MAC, 1, from.Config.MAC, from.v4(), network.MAC{}, victim.v4()))
	}},
	{name: "large multicasts", send: func(from, _, _ *side) bool {
		return from.port.Send(network.Offload{}, networktest.IPv4(network.MAC{1, 0, 0x5e, 0, 0, 1}, from.Config.MAC, from.v4(), away, 17, make([]byte, 1480)))
	}},
	{name: "frames to a stuck port", fair: true, send: func(from, stuck, _ *side) bool {
		return from.port.Send(network.Offload{}, from.to(stuck, 0))
	}},
	{name: "frames to everybody in turn", fair: true, send: func(from, stuck, victim *side) bool {
		for range 3 {
			from.port.Send(network.Offload{}, from.to(stuck, 0))
		}
		return from.port.Send(network.Offload{}, from.to(victim, 0))
	}},
	{name: "the largest frames in the smallest segments", fair: true, send: func(from, stuck, victim *side) bool {
		tcp := make([]byte, 65_000)
		tcp[12] = 5 << 4
		o := network.Offload{Flags: network.NeedsChecksum, GSO: network.GSOTCP4, HeaderBytes: 54, SegmentBytes: network.SegmentBytesMin, ChecksumStart: 34, ChecksumOffset: 16}
		return from.port.Send(o, networktest.IPv4(victim.Config.MAC, from.Config.MAC, from.v4(), victim.v4(), 6, tcp))
	}},
	{name: "beginnings of connections", fair: true, send: func(from, stuck, victim *side) bool {
		tcp := make([]byte, 20)
		binary.BigEndian.PutUint16(tcp, uint16(from.b.counters(0).Sent))
		tcp[12], tcp[13] = 5<<4, syn
		return from.port.Send(network.Offload{}, networktest.IPv4(victim.Config.MAC, from.Config.MAC, from.v4(), victim.v4(), 6, tcp))
	}},
	{name: "descriptors of nothing", send: func(from, _, _ *side) bool {
		ring := from.Client.Out(network.RingSend)
		defer ring.Publish()
		return ring.Push(&ipc.Descriptor{0, 0, 0, 0})
	}},
}

// throughput is how many frames the neighbours, who send each other all they can,
// get through while the server does so much work.
func throughput(t *testing.T, pairs int, a *attack) (frames int) {
	share := uint64(100_000)
	if testing.Short() {
		share = 20_000
	}
	b := newBenchOf(t, 64, hosts(2+2*pairs)...)
	attacker, stuck, neighbours := b.sides[0], b.sides[1], b.sides[2:]
	for b.work() < share {
		for i, s := range neighbours {
			for s.port.Send(network.Offload{}, s.to(neighbours[i^1], 0)) {
			}
		}
		if a != nil {
			for a.send(attacker, stuck, neighbours[0]) {
			}
		}
		before := b.work()
		b.Step()
		// Time passes as the server works.
		b.Now += time.Duration(b.work()-before) * 50 * time.Nanosecond
		for _, s := range neighbours {
			for _, f := range s.received() {
				if f[6+5] != attacker.Config.MAC[5] {
					frames++
				}
			}
		}
	}
	return frames
}

// Neighbours keep nine tenths of their throughput while a port attacks: two of them
// against what is useless to everybody, ten against what an honest port could send.
func TestNeighboursKeepTheirShare(t *testing.T) {
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			for _, pairs := range []int{1, 5} {
				if a.fair && pairs == 1 {
					continue
				}
				alone, attacked := throughput(t, pairs, nil), throughput(t, pairs, &a)
				t.Logf("%d neighbours: %d frames, %d under attack: %.1f %%", 2*pairs, alone, attacked, 100*float64(attacked)/float64(alone))
				if attacked*10 < alone*9 {
					t.Errorf("%d neighbours keep %d of %d frames", 2*pairs, attacked, alone)
				}
			}
		})
	}
}
