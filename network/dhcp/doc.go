// Package dhcp gets addresses for the ports of a network from a DHCP server behind an
// uplink (RFC 2131), before those ports exist and in their name.
//
// The client stands beside the pump of the uplink: it sends frames out of the link by
// itself, and takes those out of the link's that answer them. So the switch knows the
// addresses of a port from the beginning and never has to learn them, and applications
// need not speak DHCP.
//
//	the world -- link -- Filter -- pump -- network server
//	               ^-- Client
//
// A lease moves through the states of RFC 2131, figure 5:
//
//	Acquire: selecting -> requesting -> bound -T1-> renewing -T2-> rebinding -> lost
//	                          ^            ^----------'----------------'
//	                          '-- refused
//
// # Invariants
//
//   - A lease counts from when it was asked for, so it never outlives the server's, but
//     for the moment after a suspension in which it is asked for again.
//   - Every lease that Acquire returned ends by Release, Close, or exactly one call of
//     Config.Lost.
//   - Of the frames that come in, Filter takes those that answer a client of this
//     package, and no others.
//   - Everything is bounded: leases, answers that wait to be read, and the rate at which
//     a server can make the client ask.
//
// # Limits
//
// DHCPv4 without tags only. The address is not probed by ARP before it is used; the
// server is trusted with that. IPv6 addresses are not asked for.
//
// # Trust
//
// Answers are what a hostile network might have sent: only those to the transaction
// under way are looked at, and what they say is checked before it is used. Whoever can
// send frames on the link can give out addresses nevertheless; DHCP has no remedy.
//
// # Locks
//
// Client.mu guards the tables of the client and of its ports, and is a leaf. Each lease
// has a goroutine.
package dhcp
