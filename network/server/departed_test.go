package server_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/networktest"
)

// Flags of a segment.
const (
	fin = 1 << iota
	syn
	rst
	_
	ack
)

// link is a TCP connection between two ports, in one of their families.
type link struct {
	a, b         *side
	v6           bool
	aPort, bPort uint16
}

func (l link) back() link { return link{l.b, l.a, l.v6, l.bPort, l.aPort} }

// segment is one from l.a to l.b.
func (l link) segment(flags byte, seq, acknowledged uint32, data string) []byte {
	h := binary.BigEndian.AppendUint16(nil, l.aPort)
	h = binary.BigEndian.AppendUint16(h, l.bPort)
	h = binary.BigEndian.AppendUint32(h, seq)
	h = binary.BigEndian.AppendUint32(h, acknowledged)
	h = append(append(h, 5<<4, flags, 0, 0, 0, 0, 0, 0), data...)
	a, b := &l.a.Config, &l.b.Config
	if l.v6 {
		return networktest.IPv6(b.MAC, a.MAC, a.Addresses[1], b.Addresses[1], 6, h)
	}
	return networktest.IPv4(b.MAC, a.MAC, a.Addresses[0], b.Addresses[0], 6, h)
}

func (l link) send(flags byte, seq, acknowledged uint32, data string) {
	l.a.b.t.Helper()
	l.a.send(l.segment(flags, seq, acknowledged, data))
	l.a.b.Settle()
}

// The numbers of the SYNs of open.
const aSeq, bSeq = 1000, 2000

// open makes the connection, and has both ports take what they receive.
func (l link) open() {
	l.a.b.t.Helper()
	l.send(syn, aSeq, 0, "")
	l.back().send(syn|ack, bSeq, aSeq+1, "")
	l.send(ack, aSeq+1, bSeq+1, "")
	l.a.received()
	l.b.received()
}

// heard is a segment without options.
type heardSegment struct {
	flags byte
	seq   uint32
}

// hears are the segments that l.b receives of the connection, all others being errors.
// Their checksums are right.
func (l link) hears() (all []heardSegment) {
	l.a.b.t.Helper()
	l.a.b.Settle()
	for _, f := range l.b.received() {
		want := l.segment(0, 0, 0, "")
		at := 14 + 20
		if l.v6 {
			at = 14 + 40
		}
		if len(f) != len(want) || string(f[:14]) != string(want[:14]) || string(f[at-8:at+4]) != string(want[at-8:at+4]) {
			l.a.b.t.Errorf("port %d receives %x", l.b.ID, f)
			continue
		}
		addresses := 8
		if l.v6 {
			addresses = 32
		} else if network.Fold(network.Sum(0, f[14:at])) != 0xffff {
			l.a.b.t.Errorf("the checksum of the IP header is wrong: %x", f)
		}
		if network.Fold(network.Sum(6+20, f[at-addresses:])) != 0xffff {
			l.a.b.t.Errorf("the checksum is wrong: %x", f)
		}
		all = append(all, heardSegment{f[at+13], binary.BigEndian.Uint32(f[at+4:])})
	}
	return all
}

func (l link) expect(want ...heardSegment) {
	l.a.b.t.Helper()
	if got := l.hears(); fmt.Sprint(got) != fmt.Sprint(want) {
		l.a.b.t.Errorf("port %d receives %+v, want %+v", l.b.ID, got, want)
	}
}

var probe, reset = heardSegment{ack, aSeq}, heardSegment{rst, aSeq + 1}

func eachFamily(t *testing.T, f func(t *testing.T, v6 bool)) {
	t.Run("IPv4", func(t *testing.T) { f(t, false) })
	t.Run("IPv6", func(t *testing.T) { f(t, true) })
}

// The peer of a port that has left is asked, whichever side began, and its answer is
// answered with a reset; for a minute, so is everything but a SYN.
func TestPeersOfADepartedPortAreReset(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		for _, passive := range []bool{false, true} {
			b := newBench(t, hosts(3)...)
			l := link{b.sides[0], b.sides[1], v6, 40000, 80}
			probe, reset := probe, reset
			if passive {
				l.back().open()
				probe.seq, reset.seq = bSeq, bSeq+1
			} else {
				l.open()
			}
			b.Leave(l.a.Member)
			l.expect(probe)
			l.back().send(ack, bSeq+1, reset.seq, "")
			l.expect(reset)
			b.Now += 20 * time.Second // it is not asked again
			l.expect()
			l.back().send(ack, bSeq+1, 77, "data")
			l.expect(heardSegment{rst, 77})
			l.back().send(syn, 5, 0, "")
			l.back().send(rst, 5, 0, "")
			l.expect()
			b.Now += time.Minute
			l.back().send(ack, bSeq+1, reset.seq, "")
			l.expect()
			if got := b.sides[2].received(); len(got) != 0 {
				t.Errorf("a bystander receives %x", got)
			}
		}
	})
}

// A peer that does not answer is asked again, five times in all; and once by a number
// that it cannot accept even if half of all numbers have been used.
func TestPeersAreAskedAgain(t *testing.T) {
	b := newBench(t, hosts(2)...)
	l := link{b.sides[0], b.sides[1], false, 40000, 80}
	l.open()
	b.Leave(l.a.Member)
	var got []heardSegment
	for range 60 {
		got = append(got, l.hears()...)
		b.Now += time.Second
	}
	far := heardSegment{ack, aSeq + 1<<31}
	if want := []heardSegment{probe, far, probe, far, probe}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the peer receives %+v, want %+v", got, want)
	}
	if at, ok := b.Core.Deadline(); ok {
		t.Errorf("nothing is left to do, but at %v", at)
	}
}

// Nobody is told of what has ended, or what he never took part in: a port that sends
// what begins connections, and leaves, has the server send nothing.
func TestNobodyElseIsTold(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		for name, use := range map[string]func(l link){
			"unanswered":           func(l link) { l.send(syn, aSeq, 0, "") },
			"an answer to nothing": func(l link) { l.send(syn|ack, aSeq, 1, "") },
			"data only":            func(l link) { l.send(ack, aSeq, 1, "data") },
			"answered by another number": func(l link) {
				l.send(syn, aSeq, 0, "")
				l.back().send(syn|ack, bSeq, aSeq+2, "")
			},
			"answered by somebody else": func(l link) {
				l.send(syn, aSeq, 0, "")
				third := l.a.b.sides[2]
				l.back().send(rst|ack, 0, aSeq+1, "")
				f := l.back().segment(syn|ack, bSeq, aSeq+1, "")
				copy(f[6:], third.Config.MAC[:])
				third.send(f)
				l.a.b.Settle()
			},
			"reset": func(l link) {
				l.open()
				l.send(rst, aSeq+1, 0, "")
			},
			"reset by the peer": func(l link) {
				l.open()
				l.back().send(rst, bSeq+1, 0, "")
			},
			"ended by both": func(l link) {
				l.open()
				l.send(fin|ack, aSeq+1, bSeq+1, "")
				l.back().send(fin|ack, bSeq+1, aSeq+2, "")
			},
		} {
			t.Run(name, func(t *testing.T) {
				b := newBench(t, hosts(3)...)
				l := link{b.sides[0], b.sides[1], v6, 40000, 80}
				use(l)
				l.a.received()
				l.b.received()
				b.Leave(l.a.Member)
				l.expect()
				if got := b.sides[2].received(); len(got) != 0 {
					t.Errorf("a bystander receives %x", got)
				}
			})
		}
	})
}

// Whoever has received all, and the FIN, is left to read it.
func TestWhoHasAllIsNotReset(t *testing.T) {
	b := newBench(t, hosts(2)...)
	l := link{b.sides[0], b.sides[1], false, 40000, 80}
	l.open()
	l.send(fin|ack, aSeq+1, bSeq+1, "last")
	l.b.received()
	b.Leave(l.a.Member)
	l.expect(probe)
	l.back().send(ack, bSeq+1, aSeq+1, "") // not all of it
	l.expect(reset)
	l.back().send(ack, bSeq+1, aSeq+6, "")
	l.expect()
	l.back().send(ack, bSeq+1, aSeq+6, "but nobody to take this")
	l.expect(heardSegment{rst, aSeq + 6})
}

// A successor with the same addresses answers for itself.
func TestASuccessorAnswersForItself(t *testing.T) {
	b := newBench(t, hosts(2)...)
	l := link{b.sides[0], b.sides[1], false, 40000, 80}
	l.open()
	b.Leave(l.a.Member)
	next := b.join(networktest.Host(1), testBuffers)
	l.expect(probe)
	l.back().send(ack, bSeq+1, aSeq+1, "")
	l.expect()
	if got := next.received(); len(got) != 1 {
		t.Fatalf("the successor receives %x", got)
	}
	again := link{next, l.b, l.v6, l.aPort, l.bPort}
	again.send(rst, aSeq+1, 0, "")
	l.b.received()
	b.Now += time.Minute / 2
	l.expect()

	// A connection with the ends of one that nobody has been told of is another one.
	again.open()
	b.Leave(next.Member)
	again.expect(probe)
	next = b.join(networktest.Host(1), testBuffers)
	again = link{next, l.b, l.v6, l.aPort, l.bPort}
	again.open()
	b.Now += time.Minute / 2
	again.expect()
}

// An address that another port has now is not spoken for.
func TestAnAddressOfAnother(t *testing.T) {
	b := newBench(t, hosts(2)...)
	l := link{b.sides[0], b.sides[1], false, 40000, 80}
	l.open()
	b.Leave(l.a.Member)
	moved := networktest.Host(3)
	moved.Addresses = l.a.Config.Addresses
	b.join(moved, testBuffers)
	l.expect()
	l.back().send(ack, bSeq+1, aSeq+1, "")
	l.expect()
}

// What an uplink has carried for others goes on; its own connections, from any address,
// do not. Groups and VLANs hold.
func TestWhoIsSpokenFor(t *testing.T) {
	outside := network.MAC{2, 7, 7, 7, 7, 7}
	away := netip.MustParseAddr("10.9.9.9")
	// between has l.a speak from another address, and MAC.
	between := func(l link, mac network.MAC) {
		b := l.a.b
		swap := func(f []byte, macAt, ipAt int) []byte {
			copy(f[macAt:], mac[:])
			copy(f[ipAt:], away.AsSlice())
			return f
		}
		l.a.send(swap(l.segment(syn, aSeq, 0, ""), 6, 26))
		b.Settle()
		l.b.send(swap(l.back().segment(syn|ack, bSeq, aSeq+1, ""), 0, 30))
		b.Settle()
		l.b.received()
		b.Leave(l.a.Member)
		b.Settle()
	}
	t.Run("others", func(t *testing.T) {
		b := newBench(t, uplink(1), networktest.Host(2))
		l := link{b.sides[0], b.sides[1], false, 40000, 80}
		between(l, outside)
		l.expect()
	})
	t.Run("own", func(t *testing.T) {
		b := newBench(t, uplink(1), networktest.Host(2))
		l := link{b.sides[0], b.sides[1], false, 40000, 80}
		between(l, l.a.Config.MAC)
		if got := l.b.received(); len(got) != 1 || string(got[0][26:30]) != string(away.AsSlice()) {
			t.Errorf("the peer receives %x", got)
		}
	})
	t.Run("no address of its own", func(t *testing.T) {
		b := newBench(t, hosts(2)...)
		l := link{b.sides[0], b.sides[1], false, 40000, 80}
		b.Leave(l.a.Member)
		f := l.back().segment(ack, 1, 1, "")
		copy(f[30:], away.AsSlice())
		l.b.send(f)
		l.expect()
	})
	t.Run("another place", func(t *testing.T) {
		b := newBench(t, networktest.Host(1), uplink(2), uplink(3))
		l := link{b.sides[0], b.sides[1], false, 40000, 80}
		from := func(f []byte, mac network.MAC) []byte {
			copy(f[6:], mac[:])
			copy(f[26:], away.AsSlice())
			return f
		}
		question := l.segment(syn, aSeq, 0, "")
		copy(question, outside[:])
		copy(question[30:], away.AsSlice())
		l.a.send(question)
		b.Settle()
		b.sides[2].send(from(l.back().segment(syn|ack, bSeq, aSeq+1, ""), network.MAC{2, 8, 8, 8, 8, 8}))
		b.Settle()
		l.b.received()
		b.sides[2].received()
		b.Leave(l.a.Member)
		l.expect()
		if got := b.sides[2].received(); len(got) != 0 {
			t.Errorf("the other uplink receives %x", got)
		}
	})
	t.Run("tagged", func(t *testing.T) {
		configs := hosts(3)
		configs[0].VLAN, configs[1].VLAN, configs[2].VLAN = 5, 5, 6
		b := newBench(t, configs...)
		l := link{b.sides[0], b.sides[1], false, 40000, 80}
		l.open()
		b.Leave(l.a.Member)
		l.expect(probe)
		f := link{l.a, b.sides[2], false, 1, 2}.back().segment(ack, 1, 1, "") // in another VLAN
		b.sides[2].send(f)
		b.Settle()
		if got := b.sides[2].received(); len(got) != 0 {
			t.Errorf("another VLAN receives %x", got)
		}
	})
	t.Run("groups", func(t *testing.T) {
		configs := hosts(3)
		configs[0].Group, configs[2].Group = 1, 2
		b := newBench(t, configs...)
		link{b.sides[0], b.sides[1], false, 40000, 80}.open()
		b.Leave(b.sides[0].Member)
		f := link{b.sides[0], b.sides[2], false, 1, 2}.back().segment(ack, 1, 1, "")
		b.sides[2].send(f)
		b.Settle()
		if got := b.sides[2].received(); len(got) != 0 {
			t.Errorf("another group receives %x", got)
		}
	})
}
