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
//   - A guest's connection is accepted only after that of the host has been made, and
//     what became of that is what the guest sees: refused, unreachable by ICMP, or no
//     answer. An attempt ends when the guest gives it up.
//   - Ends are passed on: a half-closed connection stays open the other way, and what is
//     reset at one end is reset at the other. Connections that are open when the gateway
//     dies are reset by the host's kernel, and inside by its successor.
//   - A pair of ends of UDP keeps its socket until it has been idle for udpIdle, so
//     what comes back finds its way (RFC 4787, REQ-5); nobody else can use it: the
//     host's socket is connected. That nobody takes the datagrams comes back too.
//   - Everything is bounded, by the memory the gateway has: connections, their buffers,
//     attempts, pairs, echo requests. Where a bound is reached, whoever has most loses his
//     newest to whoever has less (package share); a guest is an address, and what comes in
//     through a published port is counted by the guest it leads to.
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
// Gateway.mu guards the start of tasks; the pools' own locks are taken after it.
package nat
