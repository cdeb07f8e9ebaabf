// Package client is the client's side of the network server: a port that sends
// and receives raw frames, and a TCP/IP stack of the program's own on it, with sockets
// that are those of package net.
//
// # Invariants
//
//   - The place of a frame in the send ring is the number of its buffer, and so it
//     is for received frames: the rings are the only bookkeeping of buffers.
//   - Whoever waits in a socket wakes when it can go on, at its deadline, when the socket
//     is closed, and when the link ends; each with its own error.
//   - A socket is listed in its stack until it is closed; the stack's end closes it.
//
// # Locks
//
// Port.mu guards sending; endpoint.queueMu, taken before it, the packets that wait for
// room. TCPConn.writing keeps the bytes of one Write together and is held while Write
// waits. Stack.mu, guarding the list of sockets, is a leaf. Receiving belongs to one
// goroutine.
//
// # Trust
//
// The server is not trusted with the memory safety of its client: descriptors
// are checked, and frames are what a hostile network might have sent. A
// descriptor that no correct server writes ends the session.
package client
