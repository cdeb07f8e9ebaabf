package network

import "net/netip"

// Interface is what a client is told of its port: all it needs to set up a TCP/IP
// stack, or an interface of the kernel, on it.
type Interface struct {
	// Name is that of the client's domain in its network, which others resolve.
	Name string `json:"name"`
	MAC  MAC    `json:"mac"`
	MTU  int    `json:"mtu"`
	// Addresses are the port's own, with the length of their network.
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	// Gateways are the routers of last resort, at most one of each family.
	Gateways []netip.Addr `json:"gateways,omitempty"`
	// Resolvers answer DNS queries, the first that answers; none: only the names of
	// domains are known.
	Resolvers []netip.AddrPort `json:"resolvers,omitempty"`
}
