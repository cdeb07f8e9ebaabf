package network

// Drop says why the server did not deliver a frame or a copy of it.
type Drop uint8

const (
	// DropFull: the receiver had no empty buffer for longer than the sender could
	// be held up.
	DropFull Drop = iota
	// DropFlood: the receiver had no empty buffer for its copy of a flooded frame, or
	// the sender, an uplink, floods too many.
	DropFlood
	// DropSource: the source is not the port's own MAC, or is a group address.
	DropSource
	// DropAddress: the IP source, or an address claimed by ARP or neighbour
	// discovery, is not the port's own.
	DropAddress
	// DropProtocol: a protocol that the port may not send, such as router
	// advertisements.
	DropProtocol
	// DropVLAN: a tag that the port may not use, or a tag within a tag.
	DropVLAN
	// DropShort: shorter than its headers.
	DropShort
	// DropLong: longer than the MTU of the network.
	DropLong
	// DropMalformed: headers that contradict themselves or the offload fields.
	DropMalformed
	// DropIsolated: the receiver is in another group of ports.
	DropIsolated
	// DropReserved: the destination is reserved for bridges (IEEE 802.1Q, table
	// 8-1), or is the sender itself.
	DropReserved
	// DropsEnd is the number of reasons.
	DropsEnd
)

var dropNames = [DropsEnd]string{
	DropFull: "full", DropFlood: "flood", DropSource: "source", DropAddress: "address", DropProtocol: "protocol",
	DropVLAN: "vlan", DropShort: "short", DropLong: "long", DropMalformed: "malformed", DropIsolated: "isolated",
	DropReserved: "reserved",
}

func (d Drop) String() string {
	if d < DropsEnd {
		return dropNames[d]
	}
	return "unknown"
}

// Counters of one port since its server began. A frame dropped on its way to a
// receiver for want of room counts there, any other at its sender.
type Counters struct {
	Sent, SentBytes         uint64 // by the client, good or bad
	Received, ReceivedBytes uint64 // by the client
	Drops                   [DropsEnd]uint64
	Held                    uint64 // frames that had to wait for a receiver or for their rate
	LearnRefused            uint64 // source addresses not learned because a table was full
}
