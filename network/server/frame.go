package server

import (
	"encoding/binary"

	"github.com/quintet-os/quintet/network"
)

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd
	etherVLAN = 0x8100 // IEEE 802.1Q
	// etherProvider is that of a provider's tag (IEEE 802.1ad).
	etherProvider = 0x88a8

	protoHopByHop    = 0
	protoTCP         = 6
	protoUDP         = 17
	protoRouting     = 43
	protoFragment    = 44
	protoAuth        = 51
	protoICMP6       = 58
	protoDestination = 60

	arpBytes           = 28
	ipv4Bytes          = 20
	ipv6Bytes          = 40
	tcpBytes           = 20
	udpBytes           = 8
	fragmentBytes      = 8
	extensionsMax      = 8 // IPv6 extension headers looked through
	tcpChecksumAt      = 16
	udpChecksumAt      = 6
	macsBytes          = 12
	vidMask            = 0xfff
	ipv4FragmentOffset = 0x1fff
	ipv4MoreFragments  = 0x2000
)

// frame is the frame being forwarded: the server's own copy of its headers, and
// what they say.
type frame struct {
	copied  [network.HeadersBytesMax]byte
	shifted [network.HeadersBytesMax + network.TagBytes]byte // copied with the tag added or taken out
	headers []byte                                           // copied, up to the length of the frame
	payload []byte                                           // the rest, in the sender's memory
	length  int
	offload network.Offload

	dst, src  network.MAC
	tagged    bool
	tag       uint16 // as it came: priority and VLAN
	vlan      uint16 // to which the frame belongs
	etherType uint16
	l3        int // offset of what follows the Ethernet header
	sound     bool
	// Of IP; transport, an offset, is 0 if there is none to look at.
	protocol  uint8
	transport int
	end       int // of the IP packet
	fragment  bool
}

// load copies the headers of what p sends, once.
func (f *frame) load(mem []byte, n *network.Frame) {
	whole := mem[n.Offset : n.Offset+uint64(n.Length)]
	f.length = len(whole)
	f.headers = f.copied[:copy(f.copied[:], whole)]
	f.payload = whole[len(f.headers):]
	f.offload = n.Offload
}

// parseLink reads the Ethernet header.
func (f *frame) parseLink() (network.Drop, bool) {
	h := f.headers
	if len(h) < network.EthernetBytes {
		return network.DropShort, false
	}
	f.dst, f.src = network.MAC(h[0:6]), network.MAC(h[6:12])
	f.etherType = binary.BigEndian.Uint16(h[12:])
	f.l3 = network.EthernetBytes
	f.tagged, f.tag = f.etherType == etherVLAN, 0
	if f.tagged {
		if len(h) < network.EthernetBytes+network.TagBytes {
			return network.DropShort, false
		}
		f.tag = binary.BigEndian.Uint16(h[14:])
		f.etherType = binary.BigEndian.Uint16(h[16:])
		f.l3 += network.TagBytes
	}
	return 0, true
}

// parseNetwork reads the headers above Ethernet as far as the switch is
// concerned. The frame is not sound if they contradict themselves.
func (f *frame) parseNetwork() {
	f.protocol, f.transport, f.end, f.fragment, f.sound = 0, 0, f.length, false, true
	switch f.etherType {
	case etherIPv4:
		f.sound = f.parseIPv4()
	case etherIPv6:
		f.sound = f.parseIPv6()
	case etherARP:
		f.sound = f.parseARP()
	}
}

func (f *frame) parseARP() bool {
	h := f.headers[f.l3:]
	return len(h) >= arpBytes && binary.BigEndian.Uint16(h) == 1 && binary.BigEndian.Uint16(h[2:]) == etherIPv4 && h[4] == 6 && h[5] == 4
}

func (f *frame) parseIPv4() bool {
	h := f.headers[f.l3:]
	if len(h) < ipv4Bytes || h[0]>>4 != 4 {
		return false
	}
	header, total := int(h[0]&15)*4, int(binary.BigEndian.Uint16(h[2:]))
	if header < ipv4Bytes || header > len(h) || total < header || f.l3+total > f.length {
		return false
	}
	f.end = f.l3 + total
	f.fragment = binary.BigEndian.Uint16(h[6:])&(ipv4FragmentOffset|ipv4MoreFragments) != 0
	f.protocol = h[9]
	f.transport = f.l3 + header
	return true
}

func (f *frame) parseIPv6() bool {
	h := f.headers[f.l3:]
	if len(h) < ipv6Bytes || h[0]>>4 != 6 {
		return false
	}
	f.end = f.l3 + ipv6Bytes + int(binary.BigEndian.Uint16(h[4:]))
	if f.end > f.length {
		return false
	}
	f.protocol, f.transport = h[6], f.l3+ipv6Bytes
	limit := min(f.end, len(f.headers))
	for range extensionsMax {
		at := f.transport
		size := 8 // and more in units that differ
		switch f.protocol {
		case protoHopByHop, protoRouting, protoDestination:
			if at+size <= limit {
				size += int(f.headers[at+1]) * 8
			}
		case protoAuth:
			if at+size <= limit {
				size += int(f.headers[at+1]) * 4
			}
		case protoFragment:
			f.fragment = true
			if at+size <= limit && binary.BigEndian.Uint16(f.headers[at+2:])>>3 != 0 {
				f.protocol, f.transport = 0, 0 // not the first: no header follows
				return true
			}
		default:
			return true
		}
		if at+size > limit {
			return false
		}
		f.protocol, f.transport = f.headers[at], at+size
	}
	return false
}

// checkOffload tells whether the offload fields fit the headers.
func (f *frame) checkOffload() bool {
	o := &f.offload
	if o.Flags&network.NeedsChecksum == 0 {
		return true
	}
	if f.transport == 0 || f.fragment || int(o.ChecksumStart) != f.transport {
		return false
	}
	switch f.protocol {
	case protoTCP:
		if o.ChecksumOffset != tcpChecksumAt || f.transport+tcpBytes > min(f.end, len(f.headers)) {
			return false
		}
	case protoUDP:
		return o.GSO == network.GSONone && o.ChecksumOffset == udpChecksumAt && f.transport+udpBytes <= f.end
	default:
		return false
	}
	switch o.GSO {
	case network.GSOTCP4:
		if f.etherType != etherIPv4 {
			return false
		}
	case network.GSOTCP6:
		if f.etherType != etherIPv6 {
			return false
		}
	default:
		return true
	}
	data := int(f.headers[f.transport+12]>>4) * 4
	return data >= tcpBytes && int(o.HeaderBytes) == f.transport+data && int(o.HeaderBytes) <= f.end && f.end == f.length
}

// fits tells whether the frame, or what it is cut to, is within the MTU.
func (f *frame) fits(mtu int) bool {
	if f.offload.GSO != network.GSONone {
		return int(f.offload.HeaderBytes)-f.l3+int(f.offload.SegmentBytes) <= mtu
	}
	return f.length-f.l3 <= mtu
}

// render returns the headers and offload fields with which the frame leaves.
func (f *frame) render(tagged bool) ([]byte, network.Offload) {
	if tagged == f.tagged && (!tagged || f.tag&vidMask == f.vlan) {
		return f.headers, f.offload
	}
	out := append(f.shifted[:0], f.headers[:macsBytes]...)
	if tagged {
		out = binary.BigEndian.AppendUint16(out, etherVLAN)
		out = binary.BigEndian.AppendUint16(out, f.tag&^vidMask|f.vlan)
	}
	rest := macsBytes
	if f.tagged {
		rest += network.TagBytes
	}
	out = append(out, f.headers[rest:]...)
	return out, moved(f.offload, len(out)-len(f.headers))
}

// moved is the offload of a frame whose headers have grown by n bytes.
func moved(o network.Offload, n int) network.Offload {
	if o.Flags&network.NeedsChecksum != 0 {
		o.ChecksumStart = uint16(int(o.ChecksumStart) + n)
	}
	if o.GSO != network.GSONone {
		o.HeaderBytes = uint16(int(o.HeaderBytes) + n)
	}
	return o
}
