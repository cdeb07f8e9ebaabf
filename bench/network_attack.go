package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/quintet-os/quintet/app"
	"github.com/quintet-os/quintet/network"
)

// attacks are what a hostile port sends to its neighbours, by name: the i-th frame.
var attacks = map[string]func(i int, own, victim network.MAC) []byte{
	// Each from another address, to fill tables and to be taken for somebody else.
	"spoofed sources": func(i int, own, victim network.MAC) []byte {
		f := datagram(victim, own, attackerProgram, 1)
		f[8], f[9], f[10], f[11] = byte(i>>24), byte(i>>16), byte(i>>8), byte(i)
		return f
	},
	"the neighbour's address": func(_ int, own, victim network.MAC) []byte { return datagram(victim, own, 0, 1) },
	"malformed packets": func(i int, own, victim network.MAC) []byte {
		f := datagram(victim, own, attackerProgram, 1)
		f[network.EthernetBytes] = byte(i) // version and header length
		f[network.EthernetBytes+2] = byte(i >> 8)
		return f[:network.EthernetBytes+i%(smallFrameBytes-network.EthernetBytes)]
	},
	"broadcasts":          func(_ int, own, _ network.MAC) []byte { return datagram(network.Broadcast, own, attackerProgram, 1) },
	"frames to a program": func(_ int, own, victim network.MAC) []byte { return datagram(victim, own, attackerProgram, 1) },
}

// attackerProgram is the hostile one; 0 and 1 exchange traffic.
const attackerProgram = 2

// attack: what is left of one stream while a third port attacks. The same program,
// making the same frames but sending none, is what it is compared with, so that the
// processor time that the attacker itself takes is on both sides.
func (w *wire) attack(ctx context.Context) (rows []Row, err error) {
	for _, name := range slices.Sorted(maps.Keys(attacks)) {
		side := func(sending bool) measurer {
			return measurer{fmt.Sprintf("sending %v", sending), func(ctx context.Context) (figures, error) { return w.attackOnce(ctx, name, sending) }}
		}
		results, err := w.alternateFigures(ctx, "attack by "+name, []measurer{side(true), side(false)})
		if err != nil {
			return rows, err
		}
		c := here()
		c.Rounds = w.Rounds
		rows = append(rows, compared("one stream beside an attack by "+name, "Gb/s", results[0]["throughput"],
			"an attacker that sends nothing", results[1]["throughput"], c))
	}
	return rows, nil
}

func (w *wire) attackOnce(ctx context.Context, name string, sending bool) (f figures, err error) {
	pair := &trafficPair{"quintet", func(ctx context.Context) (*trafficRoute, error) {
		route, err := openServer(ctx, attackerProgram+1)
		if err != nil {
			return nil, err
		}
		t := task{Socket: route.socket(), Work: name, Write: sending, Duration: w.Duration + sideGrace}
		attacker, err := startSide(ctx, "attacker", t, anyCPU)
		if err != nil {
			return nil, errors.Join(err, route.close())
		}
		whole := route.close
		route.close = func() error { return errors.Join(attacker.release(), whole()) }
		return route, nil
	}}
	return pair.measure(ctx, task{Duration: w.Duration, Work: "stream"})
}

// attackNeighbours sends as fast as it can until it is released, or only makes the
// frames.
func attackNeighbours(t task) (any, error) {
	a, err := app.Connect(context.Background(), app.WithSocket(t.Socket), app.WithName(trafficName(attackerProgram)))
	if err != nil {
		return nil, err
	}
	port, err := a.Port(context.Background(), trafficNetwork)
	if err != nil {
		return nil, err
	}
	released := make(chan struct{})
	go func() { untilReleased(); close(released) }()
	frame := attacks[t.Work]
	for i := 0; ; i++ {
		f := frame(i, trafficMAC(attackerProgram), trafficMAC(1))
		if t.Write {
			port.Send(network.Offload{}, f)
		}
		if i%burstFrames != 0 {
			continue
		}
		if _, err := port.Poll(burstFrames, func([]byte, network.Offload) {}); err != nil {
			return nil, err
		}
		select {
		case <-released:
			return nil, nil
		default:
		}
	}
}
