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

type death struct{}

// dieAt lets the server die at its n-th write to shared memory from now, while it
// settles. It returns false if the server got done with fewer.
func (b *bench) dieAt(n int) (died bool) {
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
	b.Settle()
	return false
}

// distinct are the frames in order of their first arrival.
func distinct(frames [][]byte) (out [][]byte) {
	for _, f := range frames {
		if !slices.ContainsFunc(out, func(o []byte) bool { return bytes.Equal(o, f) }) {
			out = append(out, f)
		}
	}
	return out
}

// A server that dies at any write, and whose successor dies at any write too,
// loses no frame between two ports, tears none and changes no order.
func TestDeathAtEveryWriteLosesNothing(t *testing.T) {
	first, second := 0, 0
	for ; ; first++ {
		anyDeath := false
		for second = 0; ; second++ {
			// Room for all duplicates: a flooded copy does not wait for any.
			b := newBenchOf(t, 32, hosts(3)...)
			a, c, d := b.sides[0], b.sides[1], b.sides[2]
			var toC, toD, toA [][]byte
			for n := range 5 {
				toC, toD, toA = append(toC, a.to(c, n)), append(toD, a.to(d, n)), append(toA, c.to(a, n))
				a.send(toC[n])
				c.send(toA[n])
				if n < 3 {
					a.send(toD[n])
				}
			}
			toD = toD[:3]
			all := networktest.ARP(network.Broadcast, d.Config.MAC, 1, d.Config.MAC, d.v4(), network.MAC{}, a.v4())
			d.send(all)
			anyDeath = b.dieAt(first)
			if anyDeath {
				b.Succeed()
			}
			again := anyDeath && b.dieAt(second)
			if again {
				b.Succeed()
			}
			b.Settle()
			check := func(s *side, want ...[][]byte) {
				t.Helper()
				got := s.received()
				rest := distinct(got)
				for _, stream := range want {
					at := -1
					for n, f := range stream {
						i := slices.IndexFunc(rest, func(r []byte) bool { return bytes.Equal(r, f) })
						if i <= at {
							t.Fatalf("death %d, then %d: port %d received frame %d at place %d after %d: %q", first, second, s.ID, n, i, at, got)
						}
						at = i
					}
				}
				if total := len(slices.Concat(want...)); len(rest) != total {
					t.Fatalf("death %d, then %d: port %d received %d different frames, want %d: %q", first, second, s.ID, len(rest), total, got)
				}
			}
			check(a, toA, [][]byte{all})
			check(c, toC, [][]byte{all})
			check(d, toD)
			for n := range 3 * 32 { // every buffer is still in use, once
				f := a.to(c, 1000+n)
				a.send(f)
				b.expect(f, 1)
			}
			if !again {
				break
			}
		}
		if !anyDeath {
			break
		}
	}
	if first < 40 || second != 0 {
		t.Errorf("only %d places to die", first)
	}
	t.Logf("died at each of %d writes", first)
}
