// Package client is the client's side of the network server: a port that sends
// and receives raw frames.
//
// # Invariants
//
//   - The place of a frame in the send ring is the number of its buffer, and so it
//     is for received frames: the rings are the only bookkeeping of buffers.
//
// # Locks
//
// Port.mu guards sending and is a leaf. Receiving belongs to one goroutine.
//
// # Trust
//
// The server is not trusted with the memory safety of its client: descriptors
// are checked, and frames are what a hostile network might have sent. A
// descriptor that no correct server writes ends the session.
package client
