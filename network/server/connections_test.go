package server_test

import (
	"testing"
	"time"

	"github.com/quintet-os/quintet/network"
)

// told counts the connections of l.a that l.b is asked of, answering nothing.
func (l link) told(ports map[uint16]bool) {
	b := l.a.b
	for at, ok := b.Now, true; ok && at < b.Now+time.Second/2; at, ok = b.Core.Deadline() {
		b.Now = max(b.Now, at)
		for range 1000 {
			b.Step()
			for _, f := range l.b.received() {
				ports[uint16(f[14+20])<<8|uint16(f[14+21])] = true
			}
		}
	}
}

// Neither a peer with many connections, nor SYNs that nobody answers, have a port
// forget its connection with another.
func TestNobodyDrivesOutAnother(t *testing.T) {
	b := newBench(t, hosts(5)...)
	l := link{b.sides[0], b.sides[1], false, 40000, 80}
	l.open()
	many := link{b.sides[2], b.sides[0], false, 0, 80}
	for n := range 4 * network.ConnectionsMax {
		many.aPort = uint16(n)
		many.open()
		link{l.a, b.sides[2], false, uint16(n), 81}.send(syn, aSeq, 0, "")
		b.sides[2].received()
		alone := link{b.sides[3], b.sides[4], false, uint16(n), 81}
		if n == 0 {
			alone.aPort, alone.bPort = l.aPort, l.bPort
			alone.open()
			continue
		}
		alone.send(syn, aSeq, 0, "")
		b.sides[4].received()
	}
	for _, l := range []link{l, {b.sides[3], b.sides[4], false, l.aPort, l.bPort}} {
		b.Leave(l.a.Member)
		ports := map[uint16]bool{}
		l.told(ports)
		if !ports[l.aPort] {
			t.Errorf("port %d's connection is forgotten", l.a.ID)
		}
	}
}

// Every peer of a port with very many connections is told, also one that has few
// buffers, and no step does more than its share of it.
func TestManyAreToldAFewAtATime(t *testing.T) {
	const connections = network.ConnectionsMax / 2
	b := newBench(t, hosts(3)...)
	var l link
	for n := range connections {
		l = link{b.sides[0], b.sides[1], false, uint16(n), 80}
		l.open()
	}
	b.Leave(l.a.Member)
	third := b.sides[2]
	ports := map[uint16]bool{}
	for rounds := 0; len(ports) < connections*9/10; rounds++ {
		if rounds > 10*connections/testBuffers {
			t.Fatalf("%d of %d connections are told of", len(ports), connections)
		}
		f := third.to(l.b, rounds)
		third.send(f)
		b.Step()
		got := l.b.received()
		if len(got) > testBuffers {
			t.Fatalf("%d frames in a step", len(got))
		}
		for _, f := range got {
			if f[6+5] == l.a.Config.MAC[5] {
				ports[uint16(f[14+20])<<8|uint16(f[14+21])] = true
				l.b.send(link{l.a, l.b, false, uint16(f[14+20])<<8 | uint16(f[14+21]), 80}.back().segment(rst, 1, 0, ""))
			}
		}
		if at, ok := b.Core.Deadline(); ok {
			b.Now = max(b.Now, at)
		}
	}
}

// What a server knew of connections outlives it, and so does a departure that it has
// not told of to all, or that happened when it was dead.
func TestConnectionsOutliveTheServer(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		b := newBench(t, hosts(2)...)
		l := link{b.sides[0], b.sides[1], v6, 40000, 80}
		l.open()
		b.Succeed()
		b.Leave(l.a.Member)
		b.Succeed()
		l.expect(probe)
		b.Succeed()
		l.expect(probe)
		l.back().send(ack, bSeq+1, aSeq+1, "")
		l.expect(reset)
		b.Now += time.Minute / 2
		l.expect()
		b.Succeed()
		l.expect()
	})
}
