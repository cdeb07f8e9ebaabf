//go:build simulator

package server_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/quintet-os/quintet/internal/crashpoint"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/networktest"
)

// dieIn lets whoever writes shared memory in f die at its n-th write, and tells
// whether it did.
func dieIn(n int, f func()) (died bool) {
	crashpoint.Hook = func() {
		if n--; n < 0 {
			panic(death{})
		}
	}
	defer func() {
		crashpoint.Hook = nil
		if r := recover(); r != nil {
			if _, ok := r.(death); !ok {
				panic(r)
			}
			died = true
		}
	}()
	f()
	return false
}

// count is how often each of the frames has come, and whether anything else has.
func count(got [][]byte, want ...[]byte) (times []int, others int) {
	times = make([]int, len(want))
	for _, g := range got {
		if i := slices.IndexFunc(want, func(w []byte) bool { return bytes.Equal(w, g) }); i >= 0 {
			times[i]++
		} else {
			others++
		}
	}
	return times, others
}

// Frames to everybody reach everybody, whatever write the server dies at while it
// copies them, and whatever write its successor dies at while it takes over: each
// receiver has each frame at least once, with its own tag or none.
func TestFloodsSurviveDeaths(t *testing.T) {
	places := 0
	for first, any := 0, true; any; first++ {
		for second, again := 0, true; again; second++ {
			configs := hosts(4)
			configs[2].VLAN, configs[2].Trunk = 9, []uint16{7}
			configs[0].VLAN, configs[1].VLAN, configs[3].VLAN = 7, 7, 7
			b := newBenchOf(t, 32, configs...)
			from := b.sides[0]
			var flood [][]byte
			for n := range 3 {
				f := networktest.IPv4(network.MAC{1, 0, 0x5e, 0, 0, byte(n)}, from.Config.MAC, from.v4(), away, 17, make([]byte, 30+n))
				from.send(f)
				flood = append(flood, f)
			}
			unicast := from.to(b.sides[3], 1)
			from.send(unicast)
			any = dieIn(first, b.Settle)
			if any {
				// The successor may die already when it attaches.
				again = dieIn(second, func() { b.Succeed(); b.Settle() })
				if again {
					b.Succeed()
				}
			} else {
				again = false
			}
			b.Settle()
			for i, s := range b.sides[1:] {
				want := flood
				if i == 1 {
					want = nil
					for _, f := range flood {
						want = append(want, networktest.Tagged(f, 7))
					}
				}
				if i == 2 {
					want = append(slices.Clone(want), unicast)
				}
				times, others := count(s.received(), want...)
				if others != 0 || slices.Contains(times, 0) {
					t.Fatalf("death %d, then %d: port %d has the frames %v times, and %d others", first, second, s.ID, times, others)
				}
			}
			f := b.sides[1].to(from, 9)
			b.sides[1].send(f)
			b.expect(f, 0)
		}
		places = first
	}
	if places < 30 {
		t.Errorf("only %d places to die", places)
	}
	t.Logf("died at each of %d writes, and each of its successor's", places)
}

// A client that dies at any of its writes, in sending or in taking what has come,
// costs nobody else a frame, and what it had published before is delivered.
func TestAClientDiesAtEveryWrite(t *testing.T) {
	places := 0
	for at, any := 0, true; any; at++ {
		b := newBench(t, hosts(3)...)
		dying, to, third := b.sides[0], b.sides[1], b.sides[2]
		for n := range testBuffers {
			third.send(third.to(dying, n))
		}
		before := dying.to(to, 0)
		dying.send(before)
		b.Settle()
		half := dying.to(to, 1)
		any = dieIn(at, func() {
			if !dying.port.Send(network.Offload{}, half) {
				t.Fatal("no room")
			}
			if _, err := dying.port.Poll(testBuffers, func([]byte, network.Offload) {}); err != nil {
				t.Fatal(err)
			}
		})
		b.Settle()
		times, others := count(to.received(), before, half)
		if times[0] != 1 || times[1] > 1 || others != 0 || !any && times[1] != 1 {
			t.Fatalf("death %d: the frames of the dead came %v times, and %d others", at, times, others)
		}
		// A server that takes over the session of the dead, before the supervisor
		// removes it.
		b.Succeed()
		for n := range 3 * testBuffers {
			f := third.to(to, 100+n)
			third.send(f)
			third.port.Send(network.Offload{}, third.to(dying, n)) // nobody takes it for long
			b.Now += 200e6
			b.Settle()
			if got := to.received(); len(got) != 1 || !bytes.Equal(got[0], f) {
				t.Fatalf("death %d: a neighbour's frame %d came as %q", at, n, got)
			}
		}
		if err := dying.Session.Err(); err != nil {
			t.Fatalf("death %d: the dead is taken for hostile: %v", at, err)
		}
		b.Core.Remove(dying.Session)
		f := to.to(third, 5)
		to.send(f)
		b.Settle()
		if times, _ := count(third.received(), f); times[0] != 1 {
			t.Fatalf("death %d: after the removal, a frame came %d times", at, times[0])
		}
		places = at
	}
	if places < 5 {
		t.Errorf("only %d places to die", places)
	}
	t.Logf("died at each of %d writes", places)
}
