package topology

import (
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/quintet-os/quintet/network"
)

// FuzzParse: whatever the text, Parse ends, and either names what is wrong or
// returns a topology whose references all hold. The corpus is in testdata/fuzz.
func FuzzParse(f *testing.F) {
	example, err := os.ReadFile("../../docs/quintet.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	f.Add([]byte("servers: &a {s: {kind: storage}}\nvolumes: *a\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("servers: {n: {kind: network}}\nnetworks: {a: {server: n}, b: {server: n, subnets: [10.78.0.0/16]}}\n" +
		"uplinks: {u: {network: a, kind: user}}\napplications: {x: {networks: {a: {addresses: [10.77.0.2], publish: ['1:2/udp']}}}}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := Parse("fuzz", text)
		if err != nil {
			var all Errors
			if !errors.As(err, &all) || len(all) == 0 || len(all) > errorsMax {
				t.Fatalf("error %v (%T), want 1 to %d Errors", err, err, errorsMax)
			}
			return
		}
		for _, v := range got.Volumes {
			if _, ok := got.Server(v.Server); !ok || v.Size%int64(v.BlockSize) != 0 {
				t.Errorf("volume accepted: %+v", v)
			}
		}
		checkNetworks(t, got)
		for _, g := range got.Grants {
			if _, ok := got.Volume(g.Volume); !ok || g.Limits.Requests < 1 || (g.Access != ReadOnly && g.Access != ReadWrite) {
				t.Errorf("grant accepted: %+v", g)
			}
		}
	})
}

func checkNetworks(t *testing.T, got *Topology) {
	for _, w := range got.Networks {
		if s, ok := got.Server(w.Server); !ok || s.Kind != Switch || w.MTU < network.MTUMin || w.MTU > network.MTUMax {
			t.Errorf("network accepted: %+v", w)
		}
		for _, other := range got.Networks {
			for _, p := range w.Subnets {
				if other.Name != w.Name && slices.ContainsFunc(other.Subnets, p.Overlaps) {
					t.Errorf("networks %q and %q overlap: %v, %v", w.Name, other.Name, w.Subnets, other.Subnets)
				}
			}
		}
	}
	for _, u := range got.Uplinks {
		w, ok := got.NetworkOf(u.Network)
		if !ok || (u.Kind == User) != (u.Interface == "") || u.Queues < 1 || u.DHCP && len(w.Subnets) > 0 || u.Kind == User && len(w.Subnets) == 0 {
			t.Errorf("uplink accepted: %+v", u)
		}
	}
	for _, p := range got.Ports {
		w, ok := got.NetworkOf(p.Network)
		c := network.PortConfig{MTU: w.MTU, MAC: p.MAC, Addresses: p.Addresses, Group: p.Group, VLAN: p.VLAN, Trunk: p.Trunk, Rate: p.Rate}
		if c.MAC == (network.MAC{}) {
			c.MAC = network.MAC{2}
		}
		if _, user := got.UserUplink(p.Network); !ok || c.Check() != nil || len(p.Publish) > 0 && !user {
			t.Errorf("port accepted: %+v, %v", p, c.Check())
		}
	}
}
