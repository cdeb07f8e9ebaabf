package client

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// strange tells whether a frame asks who has an address that is not the stack's own, by
// ARP (RFC 826) or neighbour discovery (RFC 4861, 4.3). A router, which takes any
// address for its own, would claim those of its neighbours.
func (s *Stack) strange(data []byte) bool {
	if len(data) < header.EthernetMinimumSize {
		return false
	}
	body := data[header.EthernetMinimumSize:]
	var target netip.Addr
	switch header.Ethernet(data).Type() {
	case header.ARPProtocolNumber:
		arp := header.ARP(body)
		if !arp.IsValid() || arp.Op() != header.ARPRequest {
			return false
		}
		target = netip.AddrFrom4([4]byte(arp.ProtocolAddressTarget()))
	case header.IPv6ProtocolNumber:
		const end = header.IPv6MinimumSize + header.ICMPv6NeighborSolicitMinimumSize
		if len(body) < end || header.IPv6(body).NextHeader() != uint8(header.ICMPv6ProtocolNumber) ||
			header.ICMPv6(body[header.IPv6MinimumSize:]).Type() != header.ICMPv6NeighborSolicit {
			return false
		}
		target = netip.AddrFrom16([16]byte(body[end-header.IPv6AddressSize:]))
	default:
		return false
	}
	for _, own := range s.cfg.Addresses {
		if own.Addr() == target {
			return false
		}
	}
	return !target.Is6() || target != s.cfg.MAC.LinkLocal()
}
