package topology

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/quintet-os/quintet/network"
)

const (
	// subnetsDefaultMax is how many networks, counted in the order of the file, have
	// subnets of their own without being given any.
	subnetsDefaultMax = 256

	prefixMin4, prefixMax4 = 8, 30
	prefixMin6, prefixMax6 = 8, 126
)

// unusable are the addresses that no subnet may contain, since hosts treat them
// specially.
var unusable = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),      // this host
	netip.MustParsePrefix("127.0.0.0/8"),    // loopback
	netip.MustParsePrefix("169.254.0.0/16"), // link-local
	netip.MustParsePrefix("224.0.0.0/3"),    // multicast, reserved, broadcast
	netip.MustParsePrefix("::/8"),           // loopback, IPv4 in IPv6
	netip.MustParsePrefix("fe80::/10"),      // link-local
	netip.MustParsePrefix("ff00::/8"),       // multicast
}

// subnetsAt remembers where the subnets of a network stand, or the network if they
// are not given.
type subnetsAt struct {
	node
	given  bool
	broken bool // some of them are errors already
}

// networks decodes the section. Subnets that are not given depend on the uplinks:
// see assignSubnets.
func (d *decoder) networks(t *Topology) func(node) {
	return func(n node) {
		d.named(n, "a network", func(name string, n node) {
			w, at := Network{Name: name, MTU: network.MTUDefault}, subnetsAt{node: n}
			var gateways node
			given := d.fields(n,
				field{"server", d.server(&w.Server, t, Switch)},
				field{"mtu", d.integer(&w.MTU, network.MTUMin, network.MTUMax)},
				field{"subnets", func(n node) {
					before := len(d.errors)
					w.Subnets = d.subnets(n)
					at = subnetsAt{node: n, given: !isNull(n), broken: len(d.errors) > before}
				}},
				field{"gateways", func(n node) { w.Gateways, gateways = d.gateways(n), n }},
				field{"resolvers", d.resolvers(&w.Resolvers)})
			d.later = append(d.later, func() { d.checkGateways(gateways, t, name) })
			if !given["server"] {
				d.fail(n, "has no server; name the network server that switches it")
			}
			t.Networks = append(t.Networks, w)
			d.subnetsAt = append(d.subnetsAt, at)
		})
	}
}

func (d *decoder) subnets(n node) []netip.Prefix {
	var all []netip.Prefix
	for _, item := range d.list(n) {
		var p netip.Prefix
		if !d.prefix(item, &p) {
			continue
		}
		if slices.ContainsFunc(all, func(other netip.Prefix) bool { return other.Addr().Is4() == p.Addr().Is4() }) {
			d.fail(item, "is the second of its family; a network has one subnet for IPv4 and one for IPv6 at most")
			continue
		}
		all = append(all, p)
	}
	return all
}

func (d *decoder) gateways(n node) []netip.Addr {
	var all []netip.Addr
	for _, item := range d.list(n) {
		a, err := netip.ParseAddr(item.Value)
		switch {
		case err != nil || a.Zone() != "" || a.Is4In6():
			d.fail(item, "is %s; allowed: the address of a router, such as 10.77.0.1 or fd00:7175:696e::1", kindOf(item))
		case slices.ContainsFunc(all, func(other netip.Addr) bool { return other.Is4() == a.Is4() }):
			d.fail(item, "is the second of its family; a network has one gateway for IPv4 and one for IPv6 at most")
		default:
			all = append(all, a)
		}
	}
	return all
}

// checkGateways checks, once all subnets are known, that hosts can reach the routers.
func (d *decoder) checkGateways(n node, t *Topology, name string) {
	w, _ := t.NetworkOf(name)
	if len(w.Gateways) == 0 {
		return
	}
	if u, user := t.UserUplink(name); user {
		d.fail(n, "the gateway of network %q is its uplink %q; give it no others", name, u.Name)
		return
	}
	for _, a := range w.Gateways {
		if !slices.ContainsFunc(w.Subnets, func(p netip.Prefix) bool { return p.Contains(a) }) {
			d.fail(n, "gateway %v is in no subnet of network %q", a, name)
		}
	}
}

func (d *decoder) prefix(n node, to *netip.Prefix) bool {
	p, err := netip.ParsePrefix(n.Value)
	least, most := prefixMin4, prefixMax4
	if p.Addr().Is6() {
		least, most = prefixMin6, prefixMax6
	}
	switch {
	case err != nil || p.Addr().Is4In6():
		d.fail(n, "is %s; allowed: a subnet such as 10.77.0.0/24 or fd00:7175:696e::/64", kindOf(n))
	case p.Bits() < least || p.Bits() > most:
		d.fail(n, "has a prefix of %d bits; allowed: %d to %d", p.Bits(), least, most)
	case p != p.Masked():
		d.fail(n, "has bits set beyond its prefix; the subnet is %v", p.Masked())
	default:
		for _, reserved := range unusable {
			if reserved.Overlaps(p) {
				d.fail(n, "overlaps %v, which is reserved; take private addresses, such as 10.77.0.0/24 or fd00:7175:696e::/64", reserved)
				return false
			}
		}
		*to = p
		return true
	}
	return false
}

// assignSubnets gives networks their default subnets, once all sections are read,
// and checks that no two overlap.
func (d *decoder) assignSubnets(t *Topology) {
	leased := map[string]string{}
	for _, u := range t.Uplinks {
		if u.DHCP {
			leased[u.Network] = u.Name
		}
	}
	for i := range t.Networks {
		w, at := &t.Networks[i], d.subnetsAt[i]
		uplink, dhcp := leased[w.Name]
		switch {
		case dhcp && len(w.Subnets) > 0:
			d.fail(at.node, "the addresses of network %q come by DHCP from its uplink %q; give it no subnets, or the uplink no dhcp", w.Name, uplink)
		case dhcp || at.given:
		case i >= subnetsDefaultMax:
			d.fail(at.node, "has no subnets; only the first %d networks of a file have some by default", subnetsDefaultMax)
		default:
			w.Subnets = defaultSubnets(byte(i))
		}
	}
	d.checkOverlaps(t)
}

// defaultSubnets are those of the n-th network of a file.
func defaultSubnets(n byte) []netip.Prefix {
	return []netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, n, 0}), 24),
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0, 0x71, 0x75, 0x69, 0x6e, 0, n}), 64),
	}
}

// checkOverlaps sorts all subnets, so that one that contains others stands right
// before them.
func (d *decoder) checkOverlaps(t *Topology) {
	type owned struct {
		netip.Prefix
		network int
	}
	var all []owned
	for i, w := range t.Networks {
		for _, p := range w.Subnets {
			all = append(all, owned{p, i})
		}
	}
	slices.SortFunc(all, func(a, b owned) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()), cmp.Compare(a.network, b.network))
	})
	var outer owned
	for _, inner := range all {
		if !outer.IsValid() || !outer.Overlaps(inner.Prefix) {
			outer = inner
			continue
		}
		first, second := outer, inner
		if first.network > second.network {
			first, second = second, first
		}
		at, whose := d.subnetsAt[second.network], "its subnet"
		if !at.given {
			whose = "its default subnet"
		}
		d.fail(at.node, "%s %v overlaps %v of network %q; give it another", whose, second.Prefix, first.Prefix, t.Networks[first.network].Name)
	}
}
