package topology

import (
	"net/netip"
	"strconv"
	"strings"
)

// Protocols of published ports.
const (
	TCP = "tcp"
	UDP = "udp"
)

// published is a port of the host, whatever the address.
type published struct {
	protocol string
	port     uint16
}

// listener is an address at which an application's port is published.
type listener struct {
	address     netip.Addr
	application string
}

func (d *decoder) publishes(n node, application string, taken *claims) []Publish {
	var all []Publish
	for _, item := range d.list(n) {
		p, ok := parsePublish(item.Value)
		if !ok {
			d.fail(item, "is %s; allowed: host port:port, such as 8080:80, 127.0.0.1:5353:53/udp or [::1]:8443:443/tcp", kindOf(item))
			continue
		}
		key := published{p.Protocol, p.Listen.Port()}
		if other, clash := conflict(taken.published[key], p.Listen.Addr()); clash {
			d.fail(item, "port %d of %s is published for application %q already, at %v", key.port, key.protocol, other.application,
				netip.AddrPortFrom(other.address, key.port))
			continue
		}
		taken.published[key] = append(taken.published[key], listener{p.Listen.Addr(), application})
		all = append(all, p)
	}
	return all
}

// conflict finds whoever listens where the address would: at the same one, or
// because one of the two is any.
func conflict(others []listener, address netip.Addr) (listener, bool) {
	for _, other := range others {
		if other.address == address || other.address.IsUnspecified() || address.IsUnspecified() {
			return other, true
		}
	}
	return listener{}, false
}

// proxySuffix of TCP has the source of each connection told to the application.
const proxySuffix = "+proxy"

// parsePublish reads [host address:]host port:port[/protocol], where tcp may be tcp+proxy.
func parsePublish(text string) (p Publish, ok bool) {
	ends, protocol, given := strings.Cut(text, "/")
	if !given {
		protocol = TCP
	}
	protocol, p.Proxy = strings.CutSuffix(protocol, proxySuffix)
	last := strings.LastIndexByte(ends, ':')
	if last < 0 || protocol != TCP && (protocol != UDP || p.Proxy) {
		return Publish{}, false
	}
	p.Protocol = protocol
	if p.Port, ok = parsePort(ends[last+1:]); !ok {
		return Publish{}, false
	}
	if port, bare := parsePort(ends[:last]); bare {
		// What listens at any address of IPv4 does so for IPv6 too, as package net does it.
		p.Listen = netip.AddrPortFrom(netip.IPv4Unspecified(), port)
		return p, true
	}
	listen, err := netip.ParseAddrPort(ends[:last])
	if err != nil || listen.Port() == 0 || listen.Addr().IsMulticast() || listen.Addr().Is4In6() {
		return Publish{}, false
	}
	p.Listen = listen
	return p, true
}

func parsePort(text string) (uint16, bool) {
	port, err := strconv.ParseUint(text, 10, 16)
	return uint16(port), err == nil && port > 0
}
