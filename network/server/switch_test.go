package server_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/client/frames"
	"github.com/quintet-os/quintet/network/networktest"
)

const testBuffers = 8

// bench is a rig with raw ports.
type bench struct {
	*networktest.Rig
	t     testing.TB
	sides []*side
}

type side struct {
	*networktest.Member
	b    *bench
	port *frames.Port
}

func newBench(t testing.TB, configs ...network.PortConfig) *bench {
	return newBenchOf(t, testBuffers, configs...)
}

func newBenchOf(t testing.TB, buffers int, configs ...network.PortConfig) *bench {
	b := &bench{Rig: networktest.New(t), t: t}
	for _, cfg := range configs {
		b.sides = append(b.sides, b.join(cfg, buffers))
	}
	return b
}

func (b *bench) join(cfg network.PortConfig, buffers int) *side {
	b.t.Helper()
	m := b.Join(cfg, buffers)
	p, err := frames.NewPort(m.Client, m.Region, m.Buffers)
	if err != nil {
		b.t.Fatal(err)
	}
	return &side{m, b, p}
}

func (s *side) send(frame []byte) {
	s.b.t.Helper()
	if !s.port.Send(network.Offload{}, frame) {
		s.b.t.Fatal("the send ring is full")
	}
}

// received polls everything that has come.
func (s *side) received() (frames [][]byte) {
	s.b.t.Helper()
	if _, err := s.port.Poll(1<<20, func(data []byte, _ network.Offload) { frames = append(frames, bytes.Clone(data)) }); err != nil {
		s.b.t.Fatal(err)
	}
	return frames
}

func (s *side) drops() [network.DropsEnd]uint64 {
	c, _ := s.b.Core.Counters(s.Session)
	return c.Drops
}

func (b *bench) counters(port int) network.Counters {
	c, _ := b.Core.Counters(b.sides[port].Session)
	return c
}

func (s *side) v4() netip.Addr { return s.Config.Addresses[0] }

// to is a UDP frame from s to q, marked with n.
func (s *side) to(q *side, n int) []byte {
	return networktest.IPv4(q.Config.MAC, s.Config.MAC, s.v4(), q.v4(), 17, fmt.Appendf(nil, "12345678 frame %d", n))
}

// expect asserts who has received exactly this frame, and that nobody else has
// received anything.
func (b *bench) expect(frame []byte, receivers ...int) {
	b.t.Helper()
	b.Settle()
	for i, s := range b.sides {
		var want [][]byte
		for _, r := range receivers {
			if r == i {
				want = [][]byte{frame}
			}
		}
		got := s.received()
		if len(got) != len(want) || len(got) == 1 && !bytes.Equal(got[0], want[0]) {
			b.t.Errorf("port %d received %x, want %x", i, got, want)
		}
	}
}

func hosts(n int) (configs []network.PortConfig) {
	for i := range n {
		configs = append(configs, networktest.Host(i+1))
	}
	return configs
}

func uplink(n int) network.PortConfig {
	cfg := networktest.Host(n)
	cfg.Uplink = true
	return cfg
}

func TestUnicastReachesItsPortOnly(t *testing.T) {
	b := newBench(t, hosts(3)...)
	f := b.sides[0].to(b.sides[2], 1)
	b.sides[0].send(f)
	b.expect(f, 2)
}

func TestFloods(t *testing.T) {
	a := networktest.Host(1)
	for name, dst := range map[string]network.MAC{
		"broadcast": network.Broadcast,
		"ND":        {0x33, 0x33, 0xff, 0, 0, 2},
		"multicast": {1, 0, 0x5e, 0, 0, 251},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, hosts(4)...)
			f := networktest.IPv4(dst, a.MAC, a.Addresses[0], netip.MustParseAddr("224.0.0.251"), 17, make([]byte, 20))
			b.sides[0].send(f)
			b.expect(f, 1, 2, 3)
		})
	}
}

func TestReservedAddressesStayHere(t *testing.T) {
	b := newBench(t, uplink(1), networktest.Host(2))
	f := b.sides[0].to(b.sides[1], 1)
	copy(f, []byte{1, 0x80, 0xc2, 0, 0, 0x0e})
	b.sides[0].send(f)
	b.expect(nil)
	if b.sides[0].drops()[network.DropReserved] != 1 {
		t.Errorf("drops: %v", b.sides[0].drops())
	}
}

func TestUplinksAreLearnedAndForgotten(t *testing.T) {
	b := newBench(t, uplink(1), uplink(2), networktest.Host(3))
	out, host := network.MAC{2, 7, 7, 7, 7, 7}, b.sides[2]
	away := netip.MustParseAddr("10.9.9.9")
	from := networktest.IPv4(host.Config.MAC, out, away, host.v4(), 17, make([]byte, 20))
	back := networktest.IPv4(out, host.Config.MAC, host.v4(), away, 17, make([]byte, 20))

	host.send(back)
	b.expect(back, 0, 1)
	b.sides[1].send(from)
	b.expect(from, 2)
	host.send(back)
	b.expect(back, 1)
	b.sides[0].send(from) // it has moved
	b.expect(from, 2)
	host.send(back)
	b.expect(back, 0)
	b.Now += 301 * time.Second
	host.send(back)
	b.expect(back, 0, 1)
}

func TestNetworksAndGroupsAreApart(t *testing.T) {
	configs := hosts(4)
	configs[1].Network = 1
	configs[2].Group = 7
	b := newBench(t, configs...)
	f := networktest.ARP(network.Broadcast, configs[0].MAC, 1, configs[0].MAC, b.sides[0].v4(), network.MAC{}, b.sides[3].v4())
	b.sides[0].send(f)
	b.expect(f, 2, 3)

	configs = hosts(3)
	configs[0].Group, configs[1].Group = 1, 2
	b = newBench(t, configs...)
	b.sides[0].send(b.sides[0].to(b.sides[1], 1))
	b.expect(nil)
	if b.sides[0].drops()[network.DropIsolated] != 1 {
		t.Errorf("drops: %v", b.sides[0].drops())
	}
	f = b.sides[0].to(b.sides[2], 2)
	b.sides[0].send(f)
	b.expect(f, 2)
}

func TestTagsComeAndGo(t *testing.T) {
	configs := hosts(4)
	configs[0].VLAN, configs[1].VLAN = 5, 5
	configs[2].VLAN, configs[2].Trunk = 1, []uint16{5, 6}
	b := newBench(t, configs...)
	access, peer, trunk := b.sides[0], b.sides[1], b.sides[2]

	f := access.to(trunk, 1)
	access.send(f)
	b.expect(networktest.Tagged(f, 5), 2)
	back := trunk.to(peer, 2)
	trunk.send(networktest.Tagged(back, 5))
	b.expect(back, 1)

	trunk.send(networktest.Tagged(back, 7)) // not in the trunk
	access.send(networktest.Tagged(f, 5))   // no trunk at all
	b.expect(nil)
	if trunk.drops()[network.DropVLAN] != 1 || access.drops()[network.DropVLAN] != 1 {
		t.Errorf("drops: %v, %v", trunk.drops(), access.drops())
	}
	access.send(networktest.Tagged(f, 0)) // priority only
	b.expect(networktest.Tagged(f, 5), 2)
}

func TestTagMovesTheChecksum(t *testing.T) {
	configs := hosts(2)
	configs[0].VLAN, configs[1].Trunk = 5, []uint16{5}
	b := newBench(t, configs...)
	tcp := make([]byte, 20+3000)
	tcp[12] = 5 << 4
	f := networktest.IPv4(configs[1].MAC, configs[0].MAC, b.sides[0].v4(), b.sides[1].v4(), 6, tcp)
	o := network.Offload{Flags: network.NeedsChecksum, GSO: network.GSOTCP4, HeaderBytes: 54, SegmentBytes: 1400, ChecksumStart: 34, ChecksumOffset: 16}
	b.sides[0].port.Send(o, f)
	b.Settle()
	o.HeaderBytes, o.ChecksumStart = 58, 38
	n, err := b.sides[1].port.Poll(10, func(data []byte, got network.Offload) {
		if got != o || !bytes.Equal(data, networktest.Tagged(f, 5)) {
			t.Errorf("received %d bytes with %+v, want %+v", len(data), got, o)
		}
	})
	if n != 1 || err != nil {
		t.Errorf("received %d frames, %v", n, err)
	}
}

func TestOneAddressOnePort(t *testing.T) {
	b := newBench(t, networktest.Host(1))
	for _, change := range []func(*network.PortConfig){
		func(c *network.PortConfig) { c.MAC = networktest.Host(1).MAC },
		func(c *network.PortConfig) { c.Addresses = networktest.Host(1).Addresses[:1] },
	} {
		cfg := networktest.Host(2)
		change(&cfg)
		s, err := ipc.NewSession(ipc.SessionConfig{ID: 9, Geometry: network.Geometry(8),
			Client: make([]byte, network.Geometry(8).ClientBytes()), Server: make([]byte, network.Geometry(8).ServerBytes())})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Core.Add(s, cfg); !errors.Is(err, network.KindConflict) {
			t.Errorf("a second port with an address of the first: %v", err)
		}
	}
}
