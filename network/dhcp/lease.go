package dhcp

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/quintet-os/quintet/network"
)

const (
	// leaseMin is the shortest lease that is taken; renewMin is how soon a server can
	// make the client renew one.
	leaseMin = 10 * time.Second
	renewMin = time.Second
	// infinite is what a server gives for ever (RFC 2131, 3.3).
	infinite = time.Duration(1<<32-1) * time.Second

	resolversMax = 8
	dnsPort      = 53
)

// Lease is what a server gives a port.
type Lease struct {
	// Addresses has one, with the length of its subnet.
	Addresses []netip.Prefix
	// Gateways are the routers of last resort, at most one.
	Gateways []netip.Addr
	// Resolvers answer DNS queries.
	Resolvers []netip.AddrPort
	// Server gave the lease.
	Server netip.Addr
}

// same tells whether a port can go on as it is.
func (l *Lease) same(other *Lease) bool {
	return slices.Equal(l.Gateways, other.Gateways) && slices.Equal(l.Resolvers, other.Resolvers) && slices.Equal(l.Addresses, other.Addresses)
}

// binding is a lease and when it is to be renewed.
type binding struct {
	lease Lease
	// via is the MAC that the answer came from: the server's, or its relay's.
	via network.MAC
	// Times are zero if the lease lasts for ever.
	renew, rebind, end time.Time
}

// bind takes the lease in an acknowledgement, asked for at a time; false if it cannot
// be used.
func bind(m *dhcpv4.DHCPv4, via network.MAC, asked time.Time) (binding, bool) {
	b := binding{via: via}
	var ok bool
	if b.lease.Server, ok = unicast(m.ServerIdentifier()); !ok {
		return b, false
	}
	address, ok := offered(m)
	if !ok {
		return b, false
	}
	b.lease.Addresses = []netip.Prefix{address}
	for _, r := range m.Router() {
		if a, ok := unicast(r); ok && a != address.Addr() && (address.Contains(a) || address.IsSingleIP()) {
			b.lease.Gateways = []netip.Addr{a}
			break
		}
	}
	for _, r := range m.DNS() {
		if a, ok := unicast(r); ok && len(b.lease.Resolvers) < resolversMax {
			b.lease.Resolvers = append(b.lease.Resolvers, netip.AddrPortFrom(a, dnsPort))
		}
	}
	length := m.IPAddressLeaseTime(0)
	if length < leaseMin {
		return b, false
	}
	if length < infinite {
		renew, rebind := m.IPAddressRenewalTime(0), m.IPAddressRebindingTime(0)
		if rebind <= 0 || rebind >= length { // RFC 2131, 4.4.5
			rebind = length / 8 * 7
		}
		if renew < renewMin || renew >= rebind {
			renew = min(length/2, rebind)
		}
		b.renew, b.rebind, b.end = asked.Add(max(renew, renewMin)), asked.Add(rebind), asked.Add(length)
	}
	return b, true
}

// offered is the address that a message gives; false if it is not one for a host.
func offered(m *dhcpv4.DHCPv4) (netip.Prefix, bool) {
	a, ok := unicast(m.YourIPAddr)
	if !ok {
		return netip.Prefix{}, false
	}
	mask := m.SubnetMask()
	if mask == nil {
		mask = net.IP(a.AsSlice()).DefaultMask()
	}
	bits, of := mask.Size()
	if of != a.BitLen() || bits == 0 {
		return netip.Prefix{}, false
	}
	p := netip.PrefixFrom(a, bits)
	last := a.Next()
	if bits < a.BitLen()-1 && (a == p.Masked().Addr() || !p.Contains(last)) {
		return netip.Prefix{}, false // of the subnet itself, or its broadcast
	}
	return p, true
}

// unicast is an address that a host of the network can have.
func unicast(ip net.IP) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(ip)
	a = a.Unmap()
	return a, ok && a.Is4() && a.IsGlobalUnicast() && !a.IsLinkLocalUnicast() && a.As4()[0] != 0 && a.As4()[0] < 224
}
