package server_test

import (
	"testing"

	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/networktest"
)

// Frames up to the MTU pass whole, with and without a tag, whatever the MTU; longer
// ones do not, and neither do those that are longer than the receiver's.
func TestJumboFrames(t *testing.T) {
	for _, mtu := range []int{network.MTUMin, 1500, 9000, network.MTUMax} {
		configs := hosts(3)
		for i := range configs {
			configs[i].MTU = mtu
		}
		configs[0].VLAN, configs[1].VLAN, configs[2].Trunk = 5, 5, []uint16{5}
		b := newBench(t, configs...)
		from := b.sides[0]
		packet := func(to *side, n int) []byte {
			return networktest.IPv4(to.Config.MAC, from.Config.MAC, from.v4(), to.v4(), 17, make([]byte, n-20))
		}
		f := packet(b.sides[1], mtu)
		from.send(f)
		b.expect(f, 1)
		f = packet(b.sides[2], mtu)
		from.send(f)
		b.expect(networktest.Tagged(f, 5), 2)
		if mtu == network.MTUMax {
			continue // nothing longer can be described
		}
		from.send(packet(b.sides[1], mtu+1))
		b.expect(nil)
		if n := from.drops()[network.DropLong]; n != 1 {
			t.Errorf("MTU %d: %d frames dropped as too long", mtu, n)
		}
	}
	configs := hosts(2)
	configs[0].MTU = 9000
	b := newBench(t, configs...)
	b.sides[0].send(networktest.IPv4(configs[1].MAC, configs[0].MAC, b.sides[0].v4(), b.sides[1].v4(), 17, make([]byte, 8000)))
	b.expect(nil)
	if n := b.sides[0].drops()[network.DropLong]; n != 1 {
		t.Errorf("%d frames dropped as too long for their receiver", n)
	}
}
