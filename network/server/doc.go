// Package server is the network server: a switch between ports, each of which is
// one ipc session of an application, a gateway or an uplink.
//
// # Invariants
//
//   - Core is a step machine: no goroutine, clock reading or system call. What it
//     does in a step is bounded by stepUnits of work.
//   - All copies of a frame are published before the frame's place in the sender's
//     ring is released, so a successor forwards again what may not have arrived.
//   - A receiver's n-th posted buffer is used by its n-th received frame. At
//     attach, what was published but whose buffers were not yet released is
//     skipped, so no buffer is filled twice.
//   - The headers that are checked are the headers that are delivered: they are
//     copied once into the server's memory, and from there to the receivers.
//   - Ports are added, and their own MAC addresses known, before the first step
//     forwards anything.
//
// # Back-pressure
//
// A frame for a receiver without an empty buffer stays at the head of its
// sender's ring, and the sender is not looked at meanwhile. A sender that has
// lately talked to that receiver only waits until the receiver has emptied no
// buffer for aloneMax: nobody else loses by it. For any other sender the wait
// costs those behind the frame, so each receiver has a purse of patience: at most
// patienceMax, which is spent while such a sender waits and refilled at a
// sixteenth of the time that passes. When the wait is over, frames for that
// receiver are dropped while it is full. So a port that does not empty its buffers
// costs those who talk to others too a sixteenth of their time at most, and the
// others nothing. Copies of flooded frames never wait. A port over its rate waits
// in the same way, and so does one that floods more frames than others can be asked
// to look at; an uplink's are dropped instead, since others wait behind them.
//
// # Turns
//
// Ports are served in turns, each of the same worth (deficit round robin); what a
// frame costs is the work it makes, and more if it is forbidden or flooded. So a
// port that attacks is left a small part of the time of a busy server.
//
// # Addresses
//
// The MAC addresses of ports are registered and those behind uplinks learned. Since
// a port sends from its own only, an unknown address is behind an uplink: frames to
// it go to all uplinks, or, if there is only one, to that as if it were known. So a
// successor, which knows only what is registered, neither shows such frames to
// other ports nor loses one for want of room.
//
// # Departures
//
// A port's TCP connections are noted, from the segments with which they begin and end,
// in a table that outlives the server. When the port leaves, the peer of each is asked
// for an acknowledgement in the port's name, by a segment that it cannot accept; what
// then comes for the port is answered with a reset, for departedFor, unless another port
// has its address. So nothing need be known of what a connection has carried. A peer is
// asked of what it has taken part in only, and only in the name of whom it has reached.
//
// # Trust
//
// Clients are hostile. Descriptors, indices and headers are checked; a malformed
// descriptor ends its session, a malformed or forbidden frame is counted and
// dropped. Configurations come from the supervisor and are checked for mistakes.
// The package has no locks: everything belongs to the goroutine of the loop.
package server
