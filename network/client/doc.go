// Package client is the client's side of the network server: a port that sends
// and receives raw frames, and on top of it a TCP/IP stack in the calling
// process, which hands out the standard library's connections.
//
// # Invariants
//
//   - The place of a frame in the send ring is the number of its buffer, and so it
//     is for received frames: the rings are the only bookkeeping of buffers.
//   - What the stack keeps is never shared memory: received frames are copied once,
//     and only the copy is looked at.
//   - A frame that finds the send ring full waits in a bounded queue of the
//     endpoint; nothing else is queued in this process.
//
// # Locks
//
// Port.mu guards sending and is a leaf. Receiving belongs to one goroutine, that
// of the endpoint. Endpoint.mu guards the dispatcher and is not held while a
// packet is delivered.
//
// # Trust
//
// The server is not trusted with the memory safety of its client: descriptors
// are checked, and frames are what a hostile network might have sent. A
// descriptor that no correct server writes ends the session.
package client
