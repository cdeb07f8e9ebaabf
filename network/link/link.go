// Package link is the contract of uplinks: how Ethernet frames leave the switch
// for the world, and how they come in. Implementations stand beside it:
//
//	tap     a TAP interface of Linux
//	packet  an interface of Linux, by packet sockets
//	xdp     queues of an interface of Linux, by AF_XDP
//
// # Invariants
//
//   - Nothing blocks, and one call does a bounded amount of work.
//   - Every Link takes every frame that a port may send, super-segments and
//     unfinished checksums too. What its device cannot do, it does itself, with
//     package segment.
//   - Frames come in and leave in order, as far as they belong to one flow.
//
// # Trust
//
// Frames that come in are what a hostile network might have sent. Their offload
// fields come from the kernel; they are checked against the headers all the same,
// since the kernel may pass on what another virtual machine claims. Frames to be
// sent have been checked by the switch, but their memory may change under the
// Link's hands: it is copied, once, before anything in it is believed.
//
// A Link has no locks: it belongs to one goroutine.
package link

import "github.com/quintet-os/quintet/network"

const (
	// BatchMax bounds the frames of one call of Receive or Transmit.
	BatchMax = 32
	// HeadBytesMin is how much of a frame its Head holds at least, unless the frame
	// is shorter: all the headers that the switch knows, with a tag added.
	HeadBytesMin = network.HeadersBytesMax + network.TagBytes
)

// Frame is an Ethernet frame without its check sequence, in two pieces.
type Frame struct {
	Head    []byte // at least all headers that Offload speaks of
	Rest    []byte // what follows; nil in frames received
	Offload network.Offload
}

// Len is the length of the frame in bytes.
func (f *Frame) Len() int { return len(f.Head) + len(f.Rest) }

// Link is an uplink.
type Link interface {
	// Info says what the link is and what its device can do.
	Info() Info
	// Receive fills frames, at most BatchMax, and returns how many came; 0 only when
	// nothing is left. They are in the link's memory and stay until the next call of
	// Receive. Errors are *Error; frames that came before one are returned with it.
	Receive(frames []Frame) (n int, err error)
	// Transmit sends frames, at most BatchMax, from the front, and returns how many
	// have left or been dropped and counted. The others found no room; they stay the
	// caller's, to be offered again. There is no wake-up when there is room. When
	// Transmit returns, the memory of all frames is the caller's again. Errors are
	// *Error, and mean that the frame after those n cannot be sent now.
	Transmit(frames []Frame) (n int, err error)
	// Counters since the link was opened.
	Counters() Counters
	// Wakeup is a descriptor that becomes readable, edge-triggered, when frames come
	// in after Receive has returned 0; it is never read. -1 when the link is to be
	// polled.
	Wakeup() int
	// Close releases everything, the descriptors that were passed in as well.
	Close() error
}

// Info describes a link.
type Info struct {
	Name string // of the interface
	MTU  int    // of what follows the Ethernet header, bytes
	// Checksum and GSO: unfinished checksums and super-segments go to the device as
	// they are. Otherwise the link finishes and cuts them.
	Checksum, GSO bool
	// Native: frames are not copied into and out of the buffers of the kernel's
	// stack on their way to the driver.
	Native bool
}

// Counters of a link.
type Counters struct {
	Received, ReceivedBytes uint64 // frames as they were handed over, before cutting
	Sent, SentBytes         uint64
	// Lost are the frames that came in and found the kernel's queue full.
	Lost uint64
	// Drops of frames to be sent, by reason, and of frames received whose offload
	// fields contradict their headers: network.DropMalformed.
	Drops [network.DropsEnd]uint64
}
