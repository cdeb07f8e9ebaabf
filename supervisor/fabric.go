package supervisor

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/supervisor/topology"
)

// fabric is a declared network: its ports and who has which address. Guarded by
// Supervisor.mu.
//
// Invariants: no two ports have a MAC or an address in common, and none has one
// that the topology gives to another application. So the switch never has to
// refuse a port that the supervisor has admitted.
type fabric struct {
	topology.Network
	server *server
	of     *networks
	number int // network.PortConfig.Network
	seed   string
	router []netip.Prefix // addresses of the user uplink, in the order of Subnets
	ports  map[*port]bool
	macs   map[network.MAC]bool
	taken  map[netip.Addr]bool
	// home are the addresses of an application's first port: those that the topology
	// says, or that the supervisor has chosen once for all.
	home   map[string][]netip.Addr
	homes  map[netip.Addr]bool    // all of them
	search []netip.Addr           // assigned last, in each subnet
	leases map[network.MAC]*lease // of ports that are to be
	turn   int                    // counts what was resolved
}

// port is a session with a network server, as the supervisor sees it.
type port struct {
	fabric    *fabric
	name      string // of the application or uplink
	config    network.PortConfig
	iface     network.Interface
	leased    bool        // its addresses are of a DHCP server
	capturing *descriptor // of a capture, or nil
	captures  uint64      // begun so far; the last is the one that goes on
}

// searchMax bounds the addresses tried for one port: of those in use there are
// fewer.
const searchMax = 4 * network.PortsMax

func newFabric(n topology.Network, t *topology.Topology, of *networks, number int) (*fabric, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("network %s: %w", n.Name, err)
	}
	f := &fabric{Network: n, server: of.server, of: of, number: number, seed: host + "\n" + of.server.sup.state.path + "\n" + n.Name,
		ports: make(map[*port]bool), macs: make(map[network.MAC]bool), taken: make(map[netip.Addr]bool),
		home: make(map[string][]netip.Addr), homes: make(map[netip.Addr]bool), search: make([]netip.Addr, len(n.Subnets)), leases: make(map[network.MAC]*lease)}
	for i, subnet := range n.Subnets {
		first := subnet.Addr().Next()
		f.search[i] = first
		f.homes[first] = true
		f.router = append(f.router, netip.PrefixFrom(first, subnet.Bits()))
	}
	for _, p := range t.Ports {
		if p.Network == n.Name {
			f.settle(p.To, p.Addresses)
		}
	}
	for _, p := range t.Ports {
		if p.Network != n.Name || len(p.Addresses) > 0 {
			continue
		}
		addresses, err := f.assign()
		if err != nil {
			return nil, fmt.Errorf("network %s: application %s: %w", n.Name, p.To, err)
		}
		f.settle(p.To, addresses)
	}
	return f, nil
}

func (f *fabric) settle(name string, addresses []netip.Addr) {
	if len(addresses) > 0 {
		f.home[name] = addresses
	}
	for _, a := range addresses {
		f.homes[a] = true
	}
}

// assign finds a free address in each subnet, going on where the last search
// ended: an address is used again as late as possible.
func (f *fabric) assign() ([]netip.Addr, error) {
	var found []netip.Addr
	for i, subnet := range f.Subnets {
		a := f.search[i]
		for n := 0; ; n++ {
			if a = a.Next(); !usable(subnet, a) {
				a = subnet.Addr().Next()
			}
			if !f.homes[a] && !f.taken[a] {
				break
			}
			if n == searchMax {
				return nil, broker.Refuse(broker.CodeLimit, "no address is left in %v; declare a larger subnet", subnet)
			}
		}
		f.search[i] = a
		found = append(found, a)
	}
	return found, nil
}

// usable tells whether a host can have an address of a subnet.
func usable(subnet netip.Prefix, a netip.Addr) bool {
	return subnet.Contains(a) && (a.Is6() || subnet.Contains(a.Next()))
}

// join makes a port for an application. The errors are refusals.
func (f *fabric) join(right *topology.Port, lease *network.Interface) (*port, error) {
	p := &port{fabric: f, name: right.To}
	p.iface = network.Interface{Name: right.To, MTU: f.MTU, MAC: right.MAC}
	addresses := right.Addresses
	switch {
	case lease != nil:
		p.iface.MAC, p.iface.Gateways, p.iface.Resolvers = lease.MAC, lease.Gateways, lease.Resolvers
		p.iface.Addresses, p.leased = lease.Addresses, true
		addresses = nil
		for _, a := range lease.Addresses {
			addresses = append(addresses, a.Addr())
		}
	case len(addresses) == 0:
		addresses = f.home[right.To]
		if slices.ContainsFunc(addresses, func(a netip.Addr) bool { return f.taken[a] }) {
			var err error
			if addresses, err = f.assign(); err != nil {
				return nil, err
			}
		}
	}
	if p.iface.MAC == (network.MAC{}) {
		p.iface.MAC = f.mac(right.To)
	}
	for _, a := range addresses {
		if f.taken[a] {
			return nil, broker.Refuse(broker.CodeConflict, "another port of network %s has the address %v; an application with addresses of its own has one port", f.Name, a)
		}
		if lease == nil {
			p.iface.Addresses = append(p.iface.Addresses, f.prefix(a))
		}
	}
	if lease == nil {
		p.iface.Gateways, p.iface.Resolvers = f.ways(addresses)
	}
	p.config = network.PortConfig{MAC: p.iface.MAC, Addresses: addresses,
		Group: right.Group, VLAN: right.VLAN, Trunk: right.Trunk, Rate: right.Rate}
	return p, f.enter(p)
}

// ways are the routers and resolvers of a host of the network with those addresses: those
// that it can speak with.
func (f *fabric) ways(own []netip.Addr) (gateways []netip.Addr, resolvers []netip.AddrPort) {
	gateways, resolvers = slices.Clone(f.Gateways), slices.Clone(f.Resolvers)
	if f.user() != nil {
		for _, r := range f.router {
			gateways = append(gateways, r.Addr())
			if len(f.Resolvers) == 0 {
				resolvers = append(resolvers, netip.AddrPortFrom(r.Addr(), dnsPort))
			}
		}
	}
	stranger := func(a netip.Addr) bool {
		return !slices.ContainsFunc(own, func(o netip.Addr) bool { return o.Is4() == a.Is4() })
	}
	return slices.DeleteFunc(gateways, stranger),
		slices.DeleteFunc(resolvers, func(r netip.AddrPort) bool { return stranger(r.Addr()) })
}

// joinUplink makes the port of an uplink.
func (f *fabric) joinUplink(u *topology.Uplink) (*port, error) {
	p := &port{fabric: f, name: u.Name}
	p.iface = network.Interface{Name: u.Name, MTU: f.MTU, MAC: f.mac(u.Name)}
	p.config = network.PortConfig{MAC: p.iface.MAC, Uplink: true, VLAN: u.VLAN, Trunk: u.Trunk, Rate: u.Rate}
	if u.Kind == topology.User {
		p.iface.Addresses = f.router
		for _, a := range f.router {
			p.config.Addresses = append(p.config.Addresses, a.Addr())
		}
	}
	return p, f.enter(p)
}

// enter adds a port whose addresses are free.
func (f *fabric) enter(p *port) error {
	p.config.Network, p.config.MTU = f.number, f.MTU
	if f.macs[p.config.MAC] {
		return broker.Refuse(broker.CodeConflict, "another port of network %s has the address %v; an application with a MAC of its own has one port", f.Name, p.config.MAC)
	}
	row, ok := f.of.takeRow()
	if !ok {
		return broker.Refuse(broker.CodeLimit, "server %s has %d ports already", f.server.config.Name, network.PortsMax)
	}
	p.config.Row = row
	if err := p.config.Check(); err != nil {
		f.of.rows[row] = false
		return broker.Refuse(broker.CodeInternal, "a port of network %s: %v", f.Name, err)
	}
	f.ports[p] = true
	f.macs[p.config.MAC] = true
	for _, a := range p.config.Addresses {
		f.taken[a] = true
	}
	return nil
}

// leave gives a port's addresses back. No server has the port any more.
func (p *port) leave() {
	f := p.fabric
	delete(f.ports, p)
	delete(f.macs, p.config.MAC)
	for _, a := range p.config.Addresses {
		delete(f.taken, a)
	}
	f.of.rows[p.config.Row] = false
	if p.leased {
		f.release(p.config.MAC)
	}
	p.endCapture()
}

// mac is a locally administered address that is the same whenever the same
// application comes, and another on any other host.
func (f *fabric) mac(name string) network.MAC {
	for n := 0; ; n++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%d", f.seed, name, n))
		m := network.MAC(sum[:6])
		m[0] = m[0]&^3 | 2
		if !f.macs[m] {
			return m
		}
	}
}

func (f *fabric) prefix(a netip.Addr) netip.Prefix {
	for _, subnet := range f.Subnets {
		if subnet.Contains(a) {
			return netip.PrefixFrom(a, subnet.Bits())
		}
	}
	return netip.PrefixFrom(a, a.BitLen())
}

// user is the network's user uplink, or nil.
func (f *fabric) user() *topology.Uplink {
	for _, u := range f.server.sup.uplinks {
		if u.Network == f.Name && u.Kind == topology.User {
			return &u.Uplink
		}
	}
	return nil
}
