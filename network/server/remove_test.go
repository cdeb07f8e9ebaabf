package server_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/networktest"
)

// A port that goes while it is held, or while others are held for it, is not touched
// any more: its memory may be somebody else's.
func TestAPortLeavesInEveryState(t *testing.T) {
	states := map[string]func(b *bench, a *side){
		"quiet": func(*bench, *side) {},
		"before its region": func(b *bench, a *side) {
			a.Session.RemoveRegion(network.RegionID)
			b.Succeed()
			a.Session.RemoveRegion(network.RegionID)
			a.send(a.to(b.sides[1], 1))
		},
		"held for its rate": func(b *bench, a *side) {
			for a.port.Send(network.Offload{}, networktest.IPv4(b.sides[1].Config.MAC, a.Config.MAC, a.v4(), b.sides[1].v4(), 17, make([]byte, 1400))) {
				b.Settle()
				b.sides[1].received()
			}
		},
		"held for a receiver": func(b *bench, a *side) {
			fill(a, b.sides[1])
			a.send(a.to(b.sides[1], 99))
		},
		"waited for": func(b *bench, a *side) {
			fill(b.sides[1], a)
			b.sides[1].send(b.sides[1].to(a, 99))
		},
		"broken": func(_ *bench, a *side) {
			a.Client.Out(network.RingSend).Push(&ipc.Descriptor{1 << 63})
			a.Client.Out(network.RingSend).Publish()
		},
		"asleep": func(b *bench, _ *side) { b.Awake() },
	}
	for name, enter := range states {
		t.Run(name, func(t *testing.T) {
			cfg := networktest.Host(1)
			cfg.Rate = network.RateMin
			b := newBench(t, cfg, networktest.Host(2), networktest.Host(3))
			a, to, third := b.sides[0], b.sides[1], b.sides[2]
			enter(b, a)
			b.Settle()
			untouched := b.Leave(a.Member)
			for range 3 {
				b.Settle()
				b.Now += time.Second
				b.Awake()
			}
			if !untouched() {
				t.Error("the memory of a port that has gone was written")
			}
			to.received()
			f := third.to(to, 7)
			third.send(f)
			b.Settle()
			if got := to.received(); len(got) == 0 || !bytes.Equal(got[len(got)-1], f) {
				t.Errorf("a neighbour received %q", got)
			}
		})
	}
}
