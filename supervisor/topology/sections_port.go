package topology

import (
	"math"
	"net/netip"
	"regexp"
	"slices"

	"github.com/quintet-os/quintet/network"
)

// claim is something that one application may have in a network.
type claim struct {
	network string
	value   any // netip.Addr or network.MAC
}

// claims are what has been taken so far, and by which application.
type claims struct {
	inNetwork map[claim]string
	published map[published][]listener
}

// labelForm is that of a DNS label (RFC 1123, 2.1); names have no upper case.
var labelForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// ports decodes the networks section of an application. node is that of the
// application's name.
func (d *decoder) ports(t *Topology, application string, taken *claims) func(node) {
	return func(n node) {
		all := d.entries(n)
		if len(all) > 0 && !labelForm.MatchString(application) {
			d.fail(n, "application %q would be reached by its name, which is no DNS label: on networks use a-z 0-9 - only", application)
		}
		for _, e := range all {
			if len(t.Ports) == declarationsMax {
				d.fail(e.value, "one too many: applications have %d ports at most in all", declarationsMax)
				return
			}
			d.mustExist(e.value, e.name, "network", func() []string { return networkNames(t) })
			t.Ports = append(t.Ports, d.port(t, Port{To: application, Network: e.name}, e.value, taken))
		}
	}
}

func (d *decoder) port(t *Topology, p Port, n node, taken *claims) Port {
	places, addresses := map[string]node{}, []node(nil)
	at := func(name string, decode func(node)) field {
		return field{name, func(n node) {
			places[name] = n
			decode(n)
		}}
	}
	d.fields(n,
		field{"addresses", func(n node) { p.Addresses, addresses = d.addresses(n, p, taken) }},
		field{"mac", func(n node) { p.MAC = d.mac(n, p, taken) }},
		field{"group", d.integer(&p.Group, 0, math.MaxInt32)},
		field{"vlan", d.vlan(&p.VLAN)},
		at("trunk", d.trunk(&p.Trunk)),
		field{"rate", d.size(&p.Rate, network.RateMin)},
		at("publish", func(n node) { p.Publish = d.publishes(n, p.To, taken) }))
	d.checkVLANs(places["trunk"], p.VLAN, p.Trunk)
	d.later = append(d.later, func() {
		i := slices.IndexFunc(t.Networks, func(w Network) bool { return w.Name == p.Network })
		if i < 0 {
			return // said already
		}
		w := t.Networks[i]
		_, user := t.UserUplink(w.Name)
		if len(p.Publish) > 0 && !user {
			d.fail(places["publish"], "network %q has no uplink of kind user, which is what ports are published through", w.Name)
		}
		if !d.subnetsAt[i].broken {
			for i, a := range p.Addresses {
				d.checkAddress(addresses[i], w, a, user)
			}
		}
	})
	return p
}

// addresses decodes those of a port, and where they stand; whether they fit the
// network is checked once that is known.
func (d *decoder) addresses(n node, p Port, taken *claims) (all []netip.Addr, at []node) {
	items := d.list(n)
	if len(items) > network.AddressesMax {
		d.fail(n, "has %d addresses, at most %d are allowed", len(items), network.AddressesMax)
		return nil, nil
	}
	for _, item := range items {
		a, err := netip.ParseAddr(item.Value)
		if err != nil || a.Zone() != "" {
			d.fail(item, "is %s; allowed: an address such as 10.77.0.10 or fd00:7175:696e::10", kindOf(item))
			continue
		}
		if slices.ContainsFunc(unusable, func(p netip.Prefix) bool { return p.Contains(a) }) {
			d.fail(item, "%v cannot be an application's own address", a)
			continue
		}
		if d.take(item, claim{p.Network, a}, p.To, taken) {
			all, at = append(all, a), append(at, item)
		}
	}
	return all, at
}

func (d *decoder) mac(n node, p Port, taken *claims) network.MAC {
	m, err := network.ParseMAC(n.Value)
	switch {
	case err != nil:
		d.fail(n, "is %s; allowed: an Ethernet address such as 02:00:00:00:00:01", kindOf(n))
	case m.Group() || m == network.MAC{}:
		d.fail(n, "is %v, which stands for many or nobody; the first byte of a port's own is even, such as 02", m)
	case d.take(n, claim{p.Network, m}, p.To, taken):
		return m
	}
	return network.MAC{}
}

func (d *decoder) take(n node, c claim, application string, taken *claims) bool {
	other, used := taken.inNetwork[c]
	if used {
		d.fail(n, "%v is that of application %q in network %q already", c.value, other, c.network)
	} else {
		taken.inNetwork[c] = application
	}
	return !used
}

// checkAddress checks that a port can have the address in its network.
func (d *decoder) checkAddress(n node, w Network, a netip.Addr, user bool) {
	i := slices.IndexFunc(w.Subnets, func(p netip.Prefix) bool { return p.Contains(a) })
	switch {
	case len(w.Subnets) == 0:
	case i < 0:
		d.fail(n, "%v is in no subnet of network %q; allowed: %s", a, w.Name, joined(w.Subnets))
	case a == w.Subnets[i].Addr():
		d.fail(n, "%v is that of the subnet %v itself", a, w.Subnets[i])
	case a.Is4() && !w.Subnets[i].Contains(a.Next()):
		d.fail(n, "%v is the broadcast address of the subnet %v", a, w.Subnets[i])
	case user && a == w.Subnets[i].Addr().Next():
		d.fail(n, "%v is that of the user uplink of network %q; take another of %v", a, w.Name, w.Subnets[i])
	}
}

// vlan decodes the VLAN of untagged frames.
func (d *decoder) vlan(to *uint16) func(node) {
	return func(n node) {
		v := int(*to)
		d.integer(&v, 0, network.VLANMax)(n)
		*to = uint16(v)
	}
}

func (d *decoder) trunk(to *[]uint16) func(node) {
	return func(n node) {
		for _, item := range d.list(n) {
			var v int
			if d.integer(&v, 1, network.VLANMax)(item); v != 0 {
				*to = append(*to, uint16(v))
			}
		}
	}
}

// checkVLANs leaves the rules to the contract of ports.
func (d *decoder) checkVLANs(n node, vlan uint16, trunk []uint16) {
	c := network.PortConfig{MTU: network.MTUDefault, MAC: network.MAC{2}, VLAN: vlan, Trunk: trunk}
	if e, ok := c.Check().(*network.Error); ok {
		d.fail(n, "%s", e.Detail)
	}
}
