package topology

import (
	"net/netip"

	"github.com/quintet-os/quintet/network"
)

// Network is a broadcast domain that a network server switches.
type Network struct {
	Name   string
	Server string
	MTU    int // bytes, network.MTUMin to network.MTUMax
	// Subnets are where addresses are assigned from, at most one of each family,
	// none on a network whose uplink has DHCP. The first address of each is that of
	// the network's user uplink, if it has one.
	Subnets []netip.Prefix
	// Gateways are routers of the network, at most one of each family, and Resolvers
	// answer its DNS queries. Empty: those of its user uplink or of its DHCP server.
	Gateways  []netip.Addr
	Resolvers []netip.AddrPort
}

// UplinkKind is how an uplink leaves the system.
type UplinkKind string

const (
	// User uplinks carry connections on sockets of the host, without privileges.
	User UplinkKind = "user"
	// TAP uplinks are an interface of the host, made for the purpose.
	TAP UplinkKind = "tap"
	// Packet and XDP uplinks use an interface that the host has.
	Packet UplinkKind = "packet"
	XDP    UplinkKind = "xdp"
)

// XDPMode is how an XDP program is attached.
type XDPMode string

// The modes; the zero value takes native and falls back to generic.
const (
	XDPAuto    XDPMode = ""
	XDPNative  XDPMode = "native"
	XDPGeneric XDPMode = "generic"
)

// Uplink is a gateway domain: the port of a network that leads to the world.
type Uplink struct {
	Name    string
	Network string
	Kind    UplinkKind
	// Interface of the host: made for tap uplinks, taken for packet and xdp; none
	// for user.
	Interface string
	Queues    int     // of a tap or xdp interface; 1 for the others
	Mode      XDPMode // of xdp
	// DHCP: the addresses of the network's ports come from a server behind this
	// uplink, which is a tap, packet or xdp one.
	DHCP bool
	// Resolvers answer DNS queries; empty: those of the host. Of user uplinks.
	Resolvers []netip.AddrPort
	VLAN      uint16   // of untagged frames
	Trunk     []uint16 // VLANs that carry a tag here
	Rate      int64    // bytes a second into the network; 0: no limit
	Memory    int64    // bytes, by cgroup; 0: unlimited
}

// Port allows an application to have ports in a network.
type Port struct {
	To      string // application
	Network string
	// MAC and Addresses are those of its one port; zero and empty: the supervisor
	// assigns them, and the application may have several ports.
	MAC       network.MAC
	Addresses []netip.Addr
	Group     int // of isolation: see network.PortConfig
	VLAN      uint16
	Trunk     []uint16
	Rate      int64 // bytes a second that one port may send; 0: no limit
	Publish   []Publish
}

// Publish makes a port of an application reachable at the host, through the user
// uplink of the network.
type Publish struct {
	Protocol string         // tcp or udp
	Listen   netip.AddrPort // of the host; an unspecified address is any of both families
	Port     uint16         // of the application
	// Proxy: each connection of TCP begins with a header of the PROXY protocol, version 2,
	// which names its source.
	Proxy bool
}

// NetworkOf returns the named network.
func (t *Topology) NetworkOf(name string) (Network, bool) {
	return find(t.Networks, name, func(n Network) string { return n.Name })
}

// NetworksOf returns the networks that a server switches.
func (t *Topology) NetworksOf(server string) []Network {
	var served []Network
	for _, n := range t.Networks {
		if n.Server == server {
			served = append(served, n)
		}
	}
	return served
}

// UplinksOf returns the uplinks of a network.
func (t *Topology) UplinksOf(name string) []Uplink {
	var all []Uplink
	for _, u := range t.Uplinks {
		if u.Network == name {
			all = append(all, u)
		}
	}
	return all
}

// UserUplink returns the uplink of a network that carries its connections on sockets
// of the host, which there is one of at most.
func (t *Topology) UserUplink(name string) (Uplink, bool) {
	for _, u := range t.Uplinks {
		if u.Network == name && u.Kind == User {
			return u, true
		}
	}
	return Uplink{}, false
}

// Port returns what the named application may do in a network.
func (t *Topology) Port(to, name string) (Port, bool) {
	for _, p := range t.Ports {
		if p.To == to && p.Network == name {
			return p, true
		}
	}
	return Port{}, false
}
