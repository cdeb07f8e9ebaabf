// Package segment cuts super-segments into frames and finishes checksums, where a
// frame leaves for a device that can do neither.
//
// The result is what the sender's stack would have sent by itself (RFC 9293; IPv4
// identification as in Linux, which counts up from the first segment): each piece
// has its own lengths, sequence number and checksums; FIN and PSH are in the last
// only, CWR in the first only (RFC 3168, section 6.1.2).
//
// The payload may lie in memory that its sender still changes. It is copied first
// and summed afterwards, so the checksum is right for what is sent, whatever that is.
package segment

import (
	"encoding/binary"

	"github.com/quintet-os/quintet/network"
)

const (
	etherTypeAt = 12
	etherIPv4   = 0x0800
	etherVLAN   = 0x8100

	ipv4LengthAt   = 2
	ipv4IDAt       = 4
	ipv4ChecksumAt = 10
	ipv4Bytes      = 20
	ipv6LengthAt   = 4
	ipv6Bytes      = 40

	tcpSequenceAt = 4
	tcpFlagsAt    = 13
	tcpBytes      = 20
	flagFIN       = 0x01
	flagPSH       = 0x08
	flagCWR       = 0x80
)

// Cutter yields the frames into which one frame is cut. The zero value yields
// nothing. It belongs to one goroutine.
type Cutter struct {
	headers     []byte
	front, rest []byte // the payload
	offload     network.Offload
	l3, l4      int
	size        int // of the payload of a frame, bytes
	total, sent int // bytes of payload, and of those already yielded
	index       int
	done        bool
}

// Check tells whether o can be done to a frame that begins with headers and is
// length bytes long. Nothing else may be given to Reset.
func Check(headers []byte, length int, o network.Offload) bool {
	if o.Flags&network.NeedsChecksum == 0 {
		return o == network.Offload{}
	}
	start := int(o.ChecksumStart)
	if start < network.EthernetBytes || start+int(o.ChecksumOffset)+2 > min(len(headers), length) {
		return false
	}
	if o.GSO == network.GSONone {
		return true
	}
	l3, isIPv4 := network3(headers)
	least := ipv6Bytes
	if isIPv4 {
		if len(headers) == l3 {
			return false
		}
		if least = int(headers[l3]&15) * 4; least < ipv4Bytes {
			return false
		}
	}
	return o.GSO == network.GSOTCP4 == isIPv4 && o.SegmentBytes > 0 && start >= l3+least &&
		int(o.HeaderBytes) >= start+max(tcpBytes, int(o.ChecksumOffset)+2) && int(o.HeaderBytes) <= len(headers) && int(o.HeaderBytes) <= length
}

// network3 is where the IP header begins, and whether it is that of IPv4.
func network3(headers []byte) (l3 int, isIPv4 bool) {
	l3 = network.EthernetBytes
	kind := binary.BigEndian.Uint16(headers[etherTypeAt:])
	if kind == etherVLAN && len(headers) >= network.EthernetBytes+network.TagBytes {
		kind = binary.BigEndian.Uint16(headers[etherTypeAt+network.TagBytes:])
		l3 += network.TagBytes
	}
	return l3, kind == etherIPv4
}

// Reset starts with the frame that consists of head and rest. Head must hold all
// headers. Both must stay until the last frame has been taken.
func (c *Cutter) Reset(head, rest []byte, o network.Offload) {
	*c = Cutter{headers: head, rest: rest, offload: o, size: len(head) + len(rest)}
	if o.GSO == network.GSONone {
		return
	}
	if len(head)-int(o.HeaderBytes)+len(rest) <= int(o.SegmentBytes) { // one segment is sent as it is
		c.offload.GSO = network.GSONone
		return
	}
	c.headers, c.front = head[:o.HeaderBytes], head[o.HeaderBytes:]
	c.l3, _ = network3(head)
	c.l4 = int(o.ChecksumStart)
	c.size = int(o.SegmentBytes)
	c.total = len(c.front) + len(rest)
}

// Frames is how many Next will yield, and Longest the length of the longest.
func (c *Cutter) Frames() int {
	if c.offload.GSO == network.GSONone {
		return 1
	}
	return (c.total + c.size - 1) / c.size
}

// Longest is the length of the longest frame that Next will yield.
func (c *Cutter) Longest() int {
	if c.offload.GSO == network.GSONone {
		return c.size
	}
	return len(c.headers) + c.size
}

// Next writes the next frame to dst, which must have room for Longest bytes, and
// returns its length; 0 when there is none left.
func (c *Cutter) Next(dst []byte) int {
	if c.done || c.headers == nil {
		return 0
	}
	if c.offload.GSO == network.GSONone {
		c.done = true
		n := copy(dst, c.headers)
		n += copy(dst[n:], c.rest)
		c.offload.FinishChecksum(dst[:n])
		return n
	}
	n := copy(dst, c.headers)
	n += c.payload(dst[n : n+min(c.size, c.total-c.sent)])
	c.done = c.sent == c.total
	c.finish(dst[:n])
	c.index++
	return n
}

// payload fills dst with what follows in the super-segment.
func (c *Cutter) payload(dst []byte) int {
	n := 0
	if c.sent < len(c.front) {
		n = copy(dst, c.front[c.sent:])
	}
	if n < len(dst) {
		n += copy(dst[n:], c.rest[c.sent+n-len(c.front):])
	}
	c.sent += n
	return n
}

// finish makes the headers those of the segment.
func (c *Cutter) finish(frame []byte) {
	be := binary.BigEndian
	ip, tcp := frame[c.l3:], frame[c.l4:]
	if c.offload.GSO == network.GSOTCP4 {
		be.PutUint16(ip[ipv4LengthAt:], uint16(len(ip)))
		be.PutUint16(ip[ipv4IDAt:], be.Uint16(ip[ipv4IDAt:])+uint16(c.index))
		header := ip[:int(ip[0]&15)*4]
		be.PutUint16(header[ipv4ChecksumAt:], 0)
		be.PutUint16(header[ipv4ChecksumAt:], ^fold(network.Sum(0, header)))
	} else {
		be.PutUint16(ip[ipv6LengthAt:], uint16(len(ip)-ipv6Bytes))
	}
	before := c.sent - (len(frame) - len(c.headers))
	be.PutUint32(tcp[tcpSequenceAt:], be.Uint32(tcp[tcpSequenceAt:])+uint32(before))
	if !c.done {
		tcp[tcpFlagsAt] &^= flagFIN | flagPSH
	}
	if c.index > 0 {
		tcp[tcpFlagsAt] &^= flagCWR
	}
	// The sender has summed a pseudo-header with the length of the whole.
	at := tcp[c.offload.ChecksumOffset:]
	whole := uint16(len(c.headers) - c.l4 + c.total)
	sum := uint64(be.Uint16(at)) + uint64(^whole) + uint64(len(tcp))
	be.PutUint16(at, fold(sum))
	c.offload.FinishChecksum(frame)
}

func fold(sum uint64) uint16 {
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}
