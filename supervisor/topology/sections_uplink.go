package topology

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"github.com/quintet-os/quintet/network"
)

const (
	queuesMax         = 8
	resolversMax      = 8
	interfaceBytesMax = 15 // IFNAMSIZ of linux/if.h, less the zero at its end
	dnsPort           = 53
	// uplinkMemoryMin is what the process of an uplink needs to start, bytes.
	uplinkMemoryMin = 16 << 20
)

// exclusive is what only one uplink of a network may be.
type exclusive struct{ network, what string }

func (d *decoder) uplinks(t *Topology) func(node) {
	return func(n node) {
		interfaces, taken := map[string]string{}, map[exclusive]string{}
		d.named(n, "an uplink", func(name string, n node) {
			u := Uplink{Name: name, Queues: 1}
			d.uplink(t, &u, n)
			if other, used := interfaces[u.Interface]; used && u.Interface != "" {
				d.fail(n, "interface %q is that of uplink %q already", u.Interface, other)
			}
			interfaces[u.Interface] = name
			claim := func(key exclusive) {
				if other, used := taken[key]; used {
					d.fail(n, "network %q has an uplink %s already, %q; one is allowed", u.Network, key.what, other)
				}
				taken[key] = name
			}
			if u.Kind == User {
				claim(exclusive{u.Network, "of kind user"})
			}
			if u.DHCP {
				claim(exclusive{u.Network, "with dhcp"})
			}
			d.later = append(d.later, func() {
				if _, ambiguous := t.Server(name); ambiguous {
					d.fail(n, "a server is called %q too; commands could not tell them apart", name)
				}
			})
			t.Uplinks = append(t.Uplinks, u)
		})
	}
}

func (d *decoder) uplink(t *Topology, u *Uplink, n node) {
	places := map[string]node{}
	at := func(name string, decode func(node)) field {
		return field{name, func(n node) {
			places[name] = n
			decode(n)
		}}
	}
	given := d.fields(n,
		at("network", d.reference(&u.Network, "network", func() []string { return networkNames(t) })),
		at("kind", choice(d, &u.Kind, User, TAP, Packet, XDP)),
		at("interface", d.interfaceName(&u.Interface)),
		at("queues", d.integer(&u.Queues, 1, queuesMax)),
		at("mode", choice(d, &u.Mode, XDPNative, XDPGeneric)),
		at("dhcp", d.boolean(&u.DHCP)),
		at("resolvers", d.resolvers(&u.Resolvers)),
		at("vlan", d.vlan(&u.VLAN)),
		at("trunk", d.trunk(&u.Trunk)),
		at("rate", d.size(&u.Rate, network.RateMin)),
		at("memory", d.size(&u.Memory, uplinkMemoryMin)))
	d.checkVLANs(places["trunk"], u.VLAN, u.Trunk)
	switch {
	case !given["network"]:
		d.fail(n, "has no network; name the one that it leads out of")
	case !given["kind"]:
		d.fail(n, "has no kind; allowed: %s, %s, %s, %s", User, TAP, Packet, XDP)
	}
	if u.Kind == "" {
		return // said already
	}
	for _, rule := range []struct {
		key   string
		kinds []UplinkKind
	}{
		{"interface", []UplinkKind{TAP, Packet, XDP}}, {"queues", []UplinkKind{TAP, XDP}}, {"mode", []UplinkKind{XDP}},
		{"dhcp", []UplinkKind{TAP, Packet, XDP}}, {"resolvers", []UplinkKind{User}},
	} {
		if given[rule.key] && !slices.Contains(rule.kinds, u.Kind) {
			d.fail(places[rule.key], "is not for uplinks of kind %s, only for %s", u.Kind, joined(rule.kinds))
		}
	}
	u.DHCP = u.DHCP && u.Kind != User
	switch {
	case u.Kind == TAP && !given["interface"]:
		d.fail(n, "has no interface; say how the one that is made shall be called")
	case u.Kind != User && !given["interface"]:
		d.fail(n, "has no interface; name the one of the host that it takes")
	case u.Kind == User:
		d.later = append(d.later, func() {
			if i := slices.IndexFunc(t.Networks, func(w Network) bool { return w.Name == u.Network }); i >= 0 && len(t.Networks[i].Subnets) == 0 && !d.subnetsAt[i].broken {
				d.fail(n, "network %q has no subnets, and an uplink of kind user needs an address in one", u.Network)
			}
		})
	}
}

func joined[T any](words []T) string {
	all := make([]string, len(words))
	for i, word := range words {
		all[i] = fmt.Sprint(word)
	}
	return strings.Join(all, ", ")
}

// interfaceName decodes what Linux accepts as the name of an interface, but for
// patterns (%d), which would be replaced.
func (d *decoder) interfaceName(to *string) func(node) {
	return func(n node) {
		var name string
		d.text(&name)(n)
		if name == "" {
			return
		}
		refused := func(r rune) bool {
			return unicode.IsSpace(r) || !unicode.IsPrint(r) || strings.ContainsRune("/:%", r)
		}
		if len(name) > interfaceBytesMax || name == "." || name == ".." || strings.ContainsFunc(name, refused) {
			d.fail(n, "is %s; allowed: the name of an interface, at most %d bytes without white space and / : %%", kindOf(n), interfaceBytesMax)
			return
		}
		*to = name
	}
}

func (d *decoder) resolvers(to *[]netip.AddrPort) func(node) {
	return func(n node) {
		items := d.list(n)
		if len(items) > resolversMax {
			d.fail(n, "has %d resolvers, at most %d are allowed", len(items), resolversMax)
			return
		}
		for _, item := range items {
			r, err := netip.ParseAddrPort(item.Value)
			if a, bare := netip.ParseAddr(item.Value); bare == nil {
				r, err = netip.AddrPortFrom(a, dnsPort), nil
			}
			if a := r.Addr(); err != nil || r.Port() == 0 || a.IsUnspecified() || a.IsMulticast() || a.Is4In6() {
				d.fail(item, "is %s; allowed: the address of a resolver, such as 10.0.0.53, 10.0.0.53:5353 or [fd00::53]:5353", kindOf(item))
				continue
			}
			*to = append(*to, r)
		}
	}
}
