package client

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/quintet-os/quintet/network"
)

// The addresses stand at the end of an IP header without options.
const (
	addresses4 = 2 * header.IPv4AddressSize
	addresses6 = 2 * header.IPv6AddressSize
)

// intact tells whether the checksums of a frame are right, as far as they can be seen
// in one frame: those of the IPv4 header and of TCP, UDP and ICMP. A frame whose
// checksum is left to be finished has not left this machine and needs none.
func intact(data []byte) bool {
	ip := data[header.EthernetMinimumSize:]
	switch header.Ethernet(data).Type() {
	case header.IPv4ProtocolNumber:
		h := header.IPv4(ip)
		if !h.IsValid(len(ip)) {
			return true // the stack sees that
		}
		if network.Fold(network.Sum(0, ip[:h.HeaderLength()])) != 0xffff {
			return false
		}
		if h.More() || h.FragmentOffset() != 0 {
			return true
		}
		return intactTransport(h.Protocol(), ip[header.IPv4MinimumSize-addresses4:header.IPv4MinimumSize], ip[h.HeaderLength():h.TotalLength()])
	case header.IPv6ProtocolNumber:
		h := header.IPv6(ip)
		if !h.IsValid(len(ip)) {
			return true
		}
		return intactTransport(h.NextHeader(), ip[header.IPv6MinimumSize-addresses6:header.IPv6MinimumSize], ip[header.IPv6MinimumSize:][:h.PayloadLength()])
	}
	return true
}

// intactTransport is intact above IP, without extension headers.
func intactTransport(protocol byte, addresses, data []byte) bool {

	switch {
	case protocol == uint8(header.TCPProtocolNumber) && len(data) >= header.TCPMinimumSize,
		protocol == uint8(header.ICMPv6ProtocolNumber) && len(addresses) == addresses6 && len(data) >= header.ICMPv6MinimumSize:
	case protocol == uint8(header.UDPProtocolNumber) && len(data) >= header.UDPMinimumSize:
		if length := int(header.UDP(data).Length()); length >= header.UDPMinimumSize && length < len(data) {
			data = data[:length]
		}
		if binary.BigEndian.Uint16(data[6:]) == 0 && len(addresses) == addresses4 {
			return true // the sender has made none
		}
	case protocol == uint8(header.ICMPv4ProtocolNumber) && len(addresses) == addresses4 && len(data) >= header.ICMPv4MinimumSize:
		return network.Fold(network.Sum(0, data)) == 0xffff
	default:
		return true
	}
	sum := network.Sum(uint64(protocol)+uint64(len(data)), addresses)
	return network.Fold(network.Sum(sum, data)) == 0xffff
}
