package segment

import "encoding/binary"

const (
	etherIPv6       = 0x86dd
	ipv4ProtocolAt  = 9
	ipv4AddressesAt = 12
	ipv6AddressesAt = 8
	ipv4FragmentsAt = 6
	moreOrOffset    = 0x3fff

	protocolTCP = 6
	protocolUDP = 17
)

// FlowHash is the same for all frames of one flow: those with the same addresses
// and, if they are TCP or UDP and no fragments, ports. A frame that is no IP packet
// belongs to flow 0.
func FlowHash(headers []byte) uint32 {
	if len(headers) < 18 {
		return 0
	}
	l3, isIPv4 := network3(headers)
	ip := headers[l3:]
	hash := uint32(2166136261)
	switch {
	case isIPv4 && len(ip) >= ipv4Bytes:
		hash = mix(hash, ip[ipv4AddressesAt:ipv4Bytes])
		l4 := int(ip[0]&15) * 4
		if p := ip[ipv4ProtocolAt]; (p == protocolTCP || p == protocolUDP) &&
			binary.BigEndian.Uint16(ip[ipv4FragmentsAt:])&moreOrOffset == 0 && l4 >= ipv4Bytes && len(ip) >= l4+4 {
			hash = mix(hash, ip[l4:l4+4])
		}
	case binary.BigEndian.Uint16(headers[l3-2:]) == etherIPv6 && len(ip) >= ipv6Bytes:
		hash = mix(hash, ip[ipv6AddressesAt:ipv6Bytes])
		if p := ip[6]; (p == protocolTCP || p == protocolUDP) && len(ip) >= ipv6Bytes+4 {
			hash = mix(hash, ip[ipv6Bytes:ipv6Bytes+4])
		}
	default:
		return 0
	}
	return hash ^ hash>>16
}

// mix adds words to a hash in the manner of FNV-1a.
func mix(hash uint32, b []byte) uint32 {
	for ; len(b) >= 4; b = b[4:] {
		hash = (hash ^ binary.LittleEndian.Uint32(b)) * 16777619
		hash ^= hash >> 15
	}
	return hash
}
