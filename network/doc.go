// Package network is the contract between the network server and its clients:
// how a frame is described in a ring, where it lies in a region, what a port is
// allowed to do, and why a frame is dropped.
//
// # A port
//
// A port is one session with the network server. The client grants one region
// to the session, and three rings carry descriptors of it:
//
//	RingSend     client to server   frames to be switched, written by the client
//	RingPost     client to server   empty buffers, into which the server may write
//	RingReceive  server to client   those buffers, filled
//
// The server copies every frame from the region of the sender to those of the
// receivers; no client ever sees another's memory. Frames are Ethernet frames
// without the check sequence. Every port accepts super-segments: TCP segments
// larger than the MTU, with the size to cut them to and an unfinished checksum,
// in the manner of virtio-net (virtio 1.2, section 5.1.6). They are cut, and
// their checksums finished, only where they leave for a device that cannot.
//
// # Invariants
//
//   - A buffer on RingSend belongs to the server until its place in the ring has
//     been released, a buffer on RingPost until it comes back on RingReceive.
//   - RingReceive returns buffers in the order in which they were posted, one for
//     one. So the number of descriptors ever published there also says how many
//     posted buffers are used up, and a successor cannot use one twice.
//   - A frame leaves RingSend only after every copy of it has been published. A
//     server that dies in between makes its successor deliver the frame twice,
//     never not at all.
//
// # Trust
//
// Neither side trusts the other. The server checks each descriptor and copies
// the headers of a frame once, into its own memory, before it looks at them; what
// it delivers are the headers it has checked. A receiver treats frames as what a
// hostile network might have sent, and descriptors likewise.
package network
