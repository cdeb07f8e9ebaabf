// Package nat is the uplink `user`: a gateway domain that carries the connections of
// a network to the world on ordinary sockets of the host, so that neither a network
// interface nor a privilege is needed.
//
// The gateway is a client of the network server like any other: a TCP/IP stack on a
// port, which is the router of the network and answers in the name of everybody
// outside. Each connection of a guest ends here and is continued by one of the host.
// So the death of the network server touches no socket of the host.
//
//	guest -- network server -- port, stack | gateway | socket -- the world
//
// # Invariants
//
//   - A guest's connection is accepted only after that of the host has been made: a
//     guest sees refusals as such.
//   - Ends are passed on: a half-closed connection stays open the other way.
//   - A pair of ends of UDP keeps its socket until it has been idle for udpIdle, so
//     what comes back finds its way (RFC 4787, REQ-5); nobody else can use it: the
//     host's socket is connected.
//   - Everything is bounded: connections, pairs, echo requests. What exceeds a bound is
//     refused, or dropped where there is no way to refuse, and counted.
//
// # Trust
//
// Guests are hostile. They reach neither the host's loopback interface, nor multicast
// or unspecified addresses, nor link-local ones, in whatever form they are written;
// all else that the host can reach, they can reach. The resolver of the host is
// reachable as port 53 of the gateway's own addresses, and as nothing else; a gateway
// that knows the names of its network answers there itself, and passes on only
// questions about others.
//
// # Locks
//
// Gateway.mu guards the tables and is a leaf.
package nat
