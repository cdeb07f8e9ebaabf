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

// deliveries is what every port receives of s, and why s itself is dropped.
func (o *oracle) deliveries(s *shot) (map[int][]byte, network.Drop) {
	p := o.ports[s.from]
	length := len(s.untagged()) - 14
	vlan, ok := o.vlan(s.from, s.tag)
	mac, addr := o.owner(p.Network, s.src), o.addressed(p.Network, s.addr)
	switch {
	case !ok:
		return nil, network.DropVLAN
	case length > p.MTU:
		return nil, network.DropLong
	case s.src.Group() || p.Uplink && mac >= 0 && mac != s.from || !p.Uplink && mac != s.from:
		return nil, network.DropSource
	case p.Uplink && addr >= 0 && addr != s.from || !p.Uplink && addr != s.from:
		return nil, network.DropAddress
	}
	var whom []int // may be meant
	for i, q := range o.ports {
		if i != s.from && q.Network == p.Network && (s.dst.Group() || q.Uplink) {
			whom = append(whom, i)
		}
	}
	if q := o.whereIs(s.dst, p.Network, vlan); q >= 0 {
		whom = []int{q}
	}
	if p.Uplink {
		o.heard = append(o.heard, heard{s.src, p.Network, vlan, s.from, o.now})
	}
	out, why := make(map[int][]byte), network.DropsEnd
	for _, i := range whom {
		q := o.ports[i]
		switch {
		case i == s.from:
			why = network.DropReserved
		case p.Group != q.Group && p.Group != 0 && q.Group != 0:
			why = network.DropIsolated
		case q.VLAN != vlan && !slices.Contains(q.Trunk, vlan):
			why = network.DropVLAN
		case length > q.MTU:
			why = network.DropLong
		default:
			out[i] = s.untagged()
			if q.VLAN != vlan {
				out[i] = networktest.Tagged(out[i], vlan)
			}
		}
	}
	if s.dst.Group() || len(whom) != 1 {
		why = network.DropsEnd // a flooded frame is not dropped where it may not go
	}
	return out, why
}

// whereIs is the port behind which an address is, or -1.
func (o *oracle) whereIs(mac network.MAC, network int, vlan uint16) (port int) {
	if mac.Group() {
		return -1
	}
	if q := o.owner(network, mac); q >= 0 {
		return q
	}
	port = -1
	for _, h := range o.heard {
		if h.mac == mac && h.network == network && h.vlan == vlan {
			if port = -1; o.now-h.at <= 300*time.Second {
				port = h.port
			}
		}
	}
	return port
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
			groups := []network.MAC{network.Broadcast, {0x33, 0x33, 0xff, 0, 0, 1}, {1, 0, 0x5e, 0, 0, 251}}
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
				if r.IntN(5) == 0 {
					s.dst = groups[r.IntN(len(groups))]
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
				want, why := o.deliveries(s)
				before := b.counters(s.from)
				b.sides[s.from].send(f)
				b.Settle()
				after := before
				after.Sent, after.SentBytes = after.Sent+1, after.SentBytes+uint64(len(f))
				if why < network.DropsEnd {
					after.Drops[why]++
				}
				if got := b.counters(s.from); got != after {
					t.Fatalf("seed %d, frame %d %+v: the counters are %+v, want %+v", seed, n, s, got, after)
				}
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
