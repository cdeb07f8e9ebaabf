// Package client is the client's side of the network server: a TCP/IP stack of the
// program's own, on a port of package frames, with sockets that are those of package net.
//
// # Invariants
//
//   - Whoever waits in a socket wakes when it can go on, at its deadline, when the socket
//     is closed, and when the link ends; each with its own error.
//   - A socket is listed in its stack until it is closed; the stack's end closes it.
//
// # Locks
//
// endpoint.queueMu guards the packets that wait for room, and is taken before the lock of
// the port. TCPConn.writing keeps the bytes of one Write together and is held while Write
// waits. Stack.mu, guarding the list of sockets, is a leaf. Receiving belongs to one
// goroutine.
//
// # Trust
//
// Frames are what a hostile network might have sent.
package client
