package server_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/networktest"
)

// shot is a random frame with what is true of it, so that the oracle need not
// read it.
type shot struct {
	from     int
	dst, src network.MAC
	addr     netip.Addr
	tag      int // -1: none
	body     []byte
}

func (s *shot) untagged() []byte {
	return networktest.IPv4(s.dst, s.src, s.addr, netip.MustParseAddr("10.255.0.1"), 17, s.body)
}

// oracle is the switch in as few rules as possible, each frame in time
// proportional to everything that has ever been sent.
type oracle struct {
	ports []network.PortConfig
	heard []heard
	now   time.Duration
}

type heard struct {
	mac     network.MAC
	network int
	vlan    uint16
	port    int
	at      time.Duration
}

func (o *oracle) vlan(port, tag int) (uint16, bool) {
	p := &o.ports[port]
	if tag <= 0 {
		return p.VLAN, true
	}
	return uint16(tag), slices.Contains(p.Trunk, uint16(tag))
}

func (o *oracle) owner(network int, mac network.MAC) int {
	return slices.IndexFunc(o.ports, func(p portConfig) bool { return p.Network == network && p.MAC == mac })
}

func (o *oracle) addressed(network int, a netip.Addr) int {
	return slices.IndexFunc(o.ports, func(p portConfig) bool { return p.Network == network && slices.Contains(p.Addresses, a) })
}

type portConfig = network.PortConfig

// deliveries is what every port receives of s.
func (o *oracle) deliveries(s *shot) map[int][]byte {
	p := o.ports[s.from]
	vlan, ok := o.vlan(s.from, s.tag)
	if !ok || s.src.Group() || len(s.untagged())-14 > p.MTU {
		return nil
	}
	mac, addr := o.owner(p.Network, s.src), o.addressed(p.Network, s.addr)
	if p.Uplink && (mac >= 0 && mac != s.from || addr >= 0 && addr != s.from) || !p.Uplink && (mac != s.from || addr != s.from) {
		return nil
	}
	known := -1
	if !s.dst.Group() {
		for _, h := range o.heard {
			if h.mac == s.dst && h.network == p.Network && h.vlan == vlan {
				known = -1
				if o.now-h.at <= 300*time.Second {
					known = h.port
				}
			}
		}
		if q := o.owner(p.Network, s.dst); q >= 0 {
			known = q
		}
	}
	// A frame to an address known to be unreachable from here is dropped before
	// anything is learned from it.
	out := make(map[int][]byte)
	for i, q := range o.ports {
		member := q.VLAN == vlan || slices.Contains(q.Trunk, vlan)
		apart := q.Network != p.Network || p.Group != q.Group && p.Group != 0 && q.Group != 0
		if known >= 0 && i != known || i == s.from || !member || apart || len(s.untagged())-14 > q.MTU {
			continue
		}
		out[i] = s.untagged()
		if q.VLAN != vlan {
			out[i] = networktest.Tagged(out[i], vlan)
		}
	}
	if p.Uplink && (known < 0 || len(out) > 0) {
		o.heard = append(o.heard, heard{s.src, p.Network, vlan, s.from, o.now})
	}
	return out
}

func TestAgainstOracle(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			var configs []network.PortConfig
			for i := range 2 + r.IntN(9) {
				cfg := networktest.Host(i + 1)
				cfg.Network, cfg.Uplink, cfg.Group = r.IntN(2), r.IntN(3) == 0, max(0, r.IntN(5)-2)
				cfg.MTU = []int{1500, 1500, 9000}[r.IntN(3)]
				cfg.VLAN = uint16(r.IntN(3))
				for v := range uint16(4) {
					if v != 0 && v != cfg.VLAN && r.IntN(2) == 0 {
						cfg.Trunk = append(cfg.Trunk, v)
					}
				}
				configs = append(configs, cfg)
			}
			b, o := newBench(t, configs...), &oracle{ports: configs}
			outside := []network.MAC{{2, 9, 9, 9, 9, 1}, {2, 9, 9, 9, 9, 2}, {2, 9, 9, 9, 9, 3}}
			anyMAC := func() network.MAC {
				if r.IntN(3) == 0 {
					return outside[r.IntN(len(outside))]
				}
				return configs[r.IntN(len(configs))].MAC
			}
			for n := range 2000 {
				s := &shot{from: r.IntN(len(configs)), tag: -1, dst: anyMAC(), body: make([]byte, 8+r.IntN(100))}
				s.src, s.addr = configs[s.from].MAC, configs[s.from].Addresses[0]
				if configs[s.from].Uplink && r.IntN(4) != 0 || r.IntN(20) == 0 {
					s.src = anyMAC()
				}
				if r.IntN(20) == 0 {
					s.addr = configs[r.IntN(len(configs))].Addresses[0]
				}
				if r.IntN(3) == 0 {
					s.tag = r.IntN(4)
				}
				if r.IntN(20) == 0 {
					s.body = make([]byte, 1475+r.IntN(10))
				}
				if r.IntN(6) == 0 {
					s.dst = network.Broadcast
				}
				for i := range s.body {
					s.body[i] = byte(r.Uint32())
				}
				if r.IntN(200) == 0 {
					b.Now += 301 * time.Second
					o.now = b.Now
				}
				if r.IntN(100) == 0 {
					b.Succeed()
					o.heard = nil
				}
				f := s.untagged()
				if s.tag >= 0 {
					f = networktest.Tagged(f, uint16(s.tag))
				}
				want := o.deliveries(s)
				b.sides[s.from].send(f)
				b.Settle()
				for i, side := range b.sides {
					got := side.received()
					if w, ok := want[i]; ok != (len(got) == 1) || ok && !bytes.Equal(got[0], w) {
						t.Fatalf("seed %d, frame %d %+v: port %d received %x, want %x", seed, n, s, i, got, w)
					}
				}
			}
		})
	}
}
