package server

import (
	"net/netip"
	"slices"

	"github.com/quintet-os/quintet/network"
)

// ICMPv6 messages (RFC 4861, RFC 2710, RFC 3810).
const (
	icmp6ReportV1      = 131
	icmp6RouterSolicit = 133
	icmp6RouterAdvert  = 134
	icmp6Solicit       = 135
	icmp6Advert        = 136
	icmp6Redirect      = 137
	icmp6ReportV2      = 143

	optionSource = 1
	optionTarget = 2

	solicitBytes       = 24 // of messages 135 and 136, without options
	routerSolicitBytes = 8
)

// reserved addresses are for bridges themselves and are not forwarded.
func reserved(m network.MAC) bool {
	return m[0] == 0x01 && m[1] == 0x80 && m[2] == 0xc2 && m[3] == 0 && m[4] == 0 && m[5] < 0x10
}

// guard checks that p does not pretend to be somebody else.
func (p *port) guard(f *frame) (network.Drop, bool) {
	if f.src.Group() {
		return network.DropSource, false
	}
	if p.cfg.Uplink {
		return p.guardUplink(f)
	}
	if f.src != p.cfg.MAC {
		return network.DropSource, false
	}
	switch f.etherType {
	case etherIPv4:
		return p.guardIPv4(f)
	case etherIPv6:
		return p.guardIPv6(f)
	case etherARP:
		return p.guardARP(f)
	}
	return network.DropProtocol, false
}

// guardUplink lets an uplink speak for anybody but the other ports.
func (p *port) guardUplink(f *frame) (network.Drop, bool) {
	if q := p.fabric.own[f.src]; q != nil && q != p {
		return network.DropSource, false
	}
	var claimed netip.Addr
	switch {
	case !f.sound && len(f.headers) < f.l3+ipv4Bytes:
	case f.etherType == etherIPv4:
		claimed = netip.AddrFrom4([4]byte(f.headers[f.l3+12:]))
	case f.etherType == etherARP:
		claimed = netip.AddrFrom4([4]byte(f.headers[f.l3+14:]))
	case f.etherType == etherIPv6:
		claimed = netip.AddrFrom16([16]byte(f.headers[f.l3+8:]))
		if m := f.headers[f.transport:min(f.end, len(f.headers))]; f.protocol == protoICMP6 && len(m) >= solicitBytes && m[0] == icmp6Advert {
			if q := p.fabric.addresses[netip.AddrFrom16([16]byte(m[8:]))]; q != nil && q != p {
				return network.DropAddress, false
			}
		}
	}
	if q := p.fabric.addresses[claimed]; q != nil && q != p {
		return network.DropAddress, false
	}
	return 0, true
}

func (p *port) owns(a netip.Addr) bool { return slices.Contains(p.own, a) }

func (p *port) guardIPv4(f *frame) (network.Drop, bool) {
	if !p.owns(netip.AddrFrom4([4]byte(f.headers[f.l3+12:]))) {
		return network.DropAddress, false
	}
	return 0, true
}

// guardARP: the sender is the port itself, or, probing for a conflict (RFC 5227),
// has no address yet.
func (p *port) guardARP(f *frame) (network.Drop, bool) {
	h := f.headers[f.l3:]
	sender := netip.AddrFrom4([4]byte(h[14:]))
	if network.MAC(h[8:14]) != p.cfg.MAC || !sender.IsUnspecified() && !p.owns(sender) {
		return network.DropAddress, false
	}
	return 0, true
}

func (p *port) guardIPv6(f *frame) (network.Drop, bool) {
	src := netip.AddrFrom16([16]byte(f.headers[f.l3+8:]))
	icmp := -1
	if f.protocol == protoICMP6 {
		if f.transport >= min(f.end, len(f.headers)) {
			return network.DropMalformed, false
		}
		icmp = int(f.headers[f.transport])
	}
	switch {
	case p.owns(src):
	case src.IsUnspecified() && (icmp == icmp6Solicit || icmp == icmp6ReportV1 || icmp == icmp6ReportV2):
	default:
		return network.DropAddress, false
	}
	if icmp >= icmp6RouterSolicit && icmp <= icmp6Redirect {
		return p.guardDiscovery(f, icmp, src)
	}
	return 0, true
}

// guardDiscovery checks a message of neighbour discovery. Routers are uplinks; a
// fragmented message is refused (RFC 6980), and so is one that the server has
// not copied whole.
func (p *port) guardDiscovery(f *frame, icmp int, src netip.Addr) (network.Drop, bool) {
	if f.fragment || f.end > len(f.headers) {
		return network.DropMalformed, false
	}
	m := f.headers[f.transport:f.end]
	var options []byte
	switch icmp {
	case icmp6RouterSolicit:
		if len(m) < routerSolicitBytes {
			return network.DropMalformed, false
		}
		options = m[routerSolicitBytes:]
	case icmp6Solicit, icmp6Advert:
		if len(m) < solicitBytes {
			return network.DropMalformed, false
		}
		if icmp == icmp6Advert && !p.owns(netip.AddrFrom16([16]byte(m[8:]))) {
			return network.DropAddress, false
		}
		options = m[solicitBytes:]
	default:
		return network.DropProtocol, false
	}
	for len(options) > 0 {
		if len(options) < 8 || options[1] == 0 || int(options[1])*8 > len(options) {
			return network.DropMalformed, false
		}
		if kind := options[0]; kind == optionSource || kind == optionTarget {
			if network.MAC(options[2:8]) != p.cfg.MAC || kind == optionSource && src.IsUnspecified() {
				return network.DropAddress, false
			}
		}
		options = options[int(options[1])*8:]
	}
	return 0, true
}
