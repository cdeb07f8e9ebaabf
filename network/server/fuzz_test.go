package server_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/networktest"
)

// honest asserts that a frame from a port claims nothing that is not the port's.
func honest(t *testing.T, from *side, frame []byte) {
	t.Helper()
	if !bytes.Equal(frame[6:12], from.Config.MAC[:]) {
		t.Fatalf("a spoofed source passed: %x", frame)
	}
	var claims []netip.Addr
	switch binary.BigEndian.Uint16(frame[12:]) {
	case 0x0800:
		claims = append(claims, netip.AddrFrom4([4]byte(frame[26:])))
	case 0x0806:
		claims = append(claims, netip.AddrFrom4([4]byte(frame[28:])))
	case 0x86dd:
		claims = append(claims, netip.AddrFrom16([16]byte(frame[22:])))
	default:
		t.Fatalf("a protocol that the port may not speak passed: %x", frame)
	}
	own := append([]netip.Addr{from.Config.MAC.LinkLocal(), netip.IPv4Unspecified(), netip.IPv6Unspecified()}, from.Config.Addresses...)
	for _, a := range claims {
		if !slices.Contains(own, a) {
			t.Fatalf("a claim of %v passed: %x", a, frame)
		}
	}
}

// foreign asserts that a frame from an uplink claims nothing that is a port's.
func foreign(t *testing.T, frame []byte, ports ...*side) {
	t.Helper()
	var claim netip.Addr
	switch kind, b := binary.BigEndian.Uint16(frame[12:]), frame[14:]; {
	case kind == 0x0800 && len(b) >= 20:
		claim = netip.AddrFrom4([4]byte(b[12:]))
	case kind == 0x0806 && len(b) >= 28:
		claim = netip.AddrFrom4([4]byte(b[14:]))
	case kind == 0x86dd && len(b) >= 40:
		claim = netip.AddrFrom16([16]byte(b[8:]))
	case kind == 0x8100 || kind == 0x88a8:
		t.Fatalf("a tag passed to an access port: %x", frame)
	}
	for _, p := range ports {
		if network.MAC(frame[6:]) == p.Config.MAC || slices.Contains(p.Config.Addresses, claim) {
			t.Fatalf("an uplink speaks for port %d: %x", p.ID, frame)
		}
	}
}

// FuzzFrame: whatever a port or an uplink sends, it cannot pretend to be somebody
// else, and its neighbours go on.
func FuzzFrame(f *testing.F) {
	a, b := networktest.Host(1), networktest.Host(2)
	f.Add(networktest.IPv4(b.MAC, a.MAC, a.Addresses[0], b.Addresses[0], 6, make([]byte, 40)), uint64(0), uint64(0))
	f.Add(networktest.IPv6(b.MAC, a.MAC, a.Addresses[1], b.Addresses[1], 58, networktest.Advert(a.Addresses[1], a.MAC)), uint64(0), uint64(0))
	f.Add(networktest.IPv6(b.MAC, a.MAC, a.Addresses[1], b.Addresses[1], 60, append([]byte{44, 0, 1, 4, 0, 0, 0, 0, 58, 0, 0, 1, 0, 0, 0, 1}, networktest.Advert(a.Addresses[1], a.MAC)...)), uint64(0), uint64(0))
	f.Add(networktest.ARP(network.Broadcast, a.MAC, 2, a.MAC, a.Addresses[0], b.MAC, b.Addresses[0]), uint64(0), uint64(0))
	tcp := networktest.IPv4(b.MAC, a.MAC, a.Addresses[0], b.Addresses[0], 6, append([]byte{12: 5 << 4, 999: 0}, 1))
	f.Add(tcp, uint64(network.NeedsChecksum)<<32|uint64(network.GSOTCP4)<<40|54<<48, uint64(500|34<<16|16<<32))
	f.Add(networktest.Tagged(tcp, 3), uint64(0), uint64(0))
	for _, flags := range []byte{syn, syn | ack, ack, fin | ack, rst} {
		f.Add(networktest.IPv4(b.MAC, a.MAC, a.Addresses[0], b.Addresses[0], 6, []byte{12: 5 << 4, 13: flags, 19: 0}), uint64(0), uint64(0))
		f.Add(networktest.IPv6(b.MAC, a.MAC, a.Addresses[1], b.Addresses[1], 6, []byte{12: 5 << 4, 13: flags, 19: 0}), uint64(0), uint64(0))
	}
	f.Fuzz(func(t *testing.T, frame []byte, word1, word2 uint64) {
		if len(frame) > network.FrameBytesMax {
			return
		}
		bench := newBench(t, a, b, networktest.Host(3), uplink(4))
		from, to, third, up := bench.sides[0], bench.sides[1], bench.sides[2], bench.sides[3]
		send := func(s *side) {
			copy(s.Region, frame)
			s.Client.Out(network.RingSend).Push(&ipc.Descriptor{0, word1&^0xffffffff | uint64(len(frame)), word2, 0})
			s.Client.Out(network.RingSend).Publish()
			bench.Settle()
		}
		send(up)
		for _, s := range bench.sides[:3] {
			for _, got := range s.received() {
				foreign(t, got, bench.sides[:3]...)
			}
		}
		send(from)
		for _, s := range bench.sides[1:] {
			for _, got := range s.received() {
				honest(t, from, got)
			}
		}
		good := third.to(to, 1)
		third.send(good)
		bench.Settle()
		if got := to.received(); len(got) != 1 || !bytes.Equal(got[0], good) {
			t.Fatalf("the neighbour's frame came as %x", got)
		}
		// To a port that has left, from one that has used its addresses since.
		bench.Leave(to.Member)
		send(from)
		send(up)
		for _, got := range from.received() {
			if network.MAC(got[6:]) == to.Config.MAC {
				honest(t, to, got)
			} else {
				foreign(t, got, from, third)
			}
		}
	})
}

// A client that writes anything into its rings ends its own session at most.
func TestHostileRings(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 2))
		b := newBench(t, hosts(3)...)
		bad, to, third := b.sides[0], b.sides[1], b.sides[2]
		for i := range bad.Region[:4096] {
			bad.Region[i] = byte(r.Uint32())
		}
		word := func() uint64 {
			return []uint64{0, 1, r.Uint64(), 1 << r.IntN(64), uint64(len(bad.Region)), uint64(r.IntN(network.BufferBytes)), ^uint64(0)}[r.IntN(7)]
		}
		for range 30 {
			ring := bad.Client.Out(r.IntN(2))
			ring.Push(&ipc.Descriptor{word(), word(), word(), word() & uint64(-r.IntN(2))})
			ring.Publish()
			b.Step()
			if err := bad.Session.Err(); err != nil && !errors.Is(err, ipc.ErrSession) {
				t.Fatalf("seed %d: %v", seed, err)
			}
			third.send(third.to(bad, 1)) // whether or not it can still receive
			f := third.to(to, 2)
			third.send(f)
			b.Now += time.Second
			b.Settle()
			if got := to.received(); len(got) == 0 || !bytes.Equal(got[len(got)-1], f) {
				t.Fatalf("seed %d: the neighbour's frame came as %x", seed, got)
			}
		}
		if r.IntN(2) == 0 {
			b.Succeed()
			b.Settle()
		}
	}
}

func TestFramesBeforeTheRegionWait(t *testing.T) {
	b := newBench(t, hosts(2)...)
	from, to := b.sides[0], b.sides[1]
	region, _ := from.Session.Region(network.RegionID)
	from.Session.RemoveRegion(network.RegionID)
	f := from.to(to, 1)
	from.send(f)
	b.expect(nil)
	from.Session.AddRegion(region)
	b.Now += time.Millisecond
	b.expect(f, 1)

	b.Succeed()
	from.Session.RemoveRegion(network.RegionID)
	from.send(f)
	b.expect(nil)
	b.Now += time.Second
	b.Settle()
	if err := from.Session.Err(); !errors.Is(err, ipc.ErrSession) {
		t.Errorf("a session without a region: %v", err)
	}
}
