package client

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
)

// portMax is the highest port of TCP and UDP.
const portMax = 65535

// Listen announces like net.Listen; see ListenWith.
func (s *Stack) Listen(network, address string) (net.Listener, error) {
	return s.ListenWith(context.Background(), new(net.ListenConfig), network, address)
}

// ListenPacket announces like net.ListenPacket; see ListenPacketWith.
func (s *Stack) ListenPacket(network, address string) (net.PacketConn, error) {
	return s.ListenPacketWith(context.Background(), new(net.ListenConfig), network, address)
}

// ListenWith announces like c.Listen, on this stack. Networks are tcp, tcp4 and tcp6;
// without a host, tcp accepts both families. Listeners are *TCPListener. Errors are
// *net.OpError with what package net would have, and ErrNotSupported for a
// configuration with Control.
func (s *Stack) ListenWith(ctx context.Context, c *net.ListenConfig, network, address string) (net.Listener, error) {
	local, protocol, err := s.local(ctx, c, network, "tcp", address)
	if err == nil {
		var l *TCPListener
		if l, err = s.listenTCP(local, protocol, keepAlive(c.KeepAlive, c.KeepAliveConfig)); err == nil {
			return l, nil
		}
	}
	return nil, opError("listen", network, address, contextError(err))
}

// ListenPacketWith announces like c.ListenPacket, on this stack. Networks are udp, udp4
// and udp6; without a host, udp receives both families. Sockets are *UDPConn. Errors
// are those of ListenWith.
func (s *Stack) ListenPacketWith(ctx context.Context, c *net.ListenConfig, network, address string) (net.PacketConn, error) {
	local, protocol, err := s.local(ctx, c, network, "udp", address)
	if err == nil {
		var u *UDPConn
		if u, err = s.openUDP(&local, nil, protocol); err == nil {
			return u, nil
		}
	}
	return nil, opError("listen", network, address, contextError(err))
}

// local is the address to listen at.
func (s *Stack) local(ctx context.Context, c *net.ListenConfig, network, base, addr string) (tcpip.FullAddress, tcpip.NetworkProtocolNumber, error) {
	if c.Control != nil {
		return tcpip.FullAddress{}, 0, fmt.Errorf("control of a file descriptor: %w", ErrNotSupported)
	}
	got, family, err := split(network)
	if err == nil && got != base {
		err = net.UnknownNetworkError(network)
	}
	if err != nil {
		return tcpip.FullAddress{}, 0, err
	}
	at, err := s.resolve(ctx, nil, network, addr, true)
	if err != nil {
		return tcpip.FullAddress{}, 0, err
	}
	if at[0].Addr().IsUnspecified() && (family == 0 || family == 6) && s.has(6) {
		// An IPv6 endpoint bound to no address takes IPv4 too.
		return tcpip.FullAddress{Port: at[0].Port()}, ipv6.ProtocolNumber, nil
	}
	if at[0].Addr().IsUnspecified() {
		return tcpip.FullAddress{Port: at[0].Port()}, ipv4.ProtocolNumber, nil
	}
	full, protocol := fullAddress(at[0])
	return full, protocol, nil
}

// has tells whether the stack has an address of that family.
func (s *Stack) has(family int) bool {
	for _, p := range s.cfg.Addresses {
		if p.Addr().Is4() == (family == 4) {
			return true
		}
	}
	return false
}

// split cuts a network into tcp or udp and the family, 0 for any.
func split(name string) (base string, family int, err error) {
	base = strings.TrimRight(name, "46")
	if base != "tcp" && base != "udp" || len(name) > len(base)+1 {
		return "", 0, net.UnknownNetworkError(name)
	}
	if name != base {
		family = int(name[len(base)] - '0')
	}
	return base, family, nil
}

// resolve returns the addresses that a host and port stand for, at least one. A
// resolver takes the place of the stack's own.
func (s *Stack) resolve(ctx context.Context, resolver *net.Resolver, network, addr string, listen bool) ([]netip.AddrPort, error) {
	base, family, err := split(network)
	if err != nil {
		return nil, err
	}
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(service)
	if err != nil {
		if port, err = net.LookupPort(base, service); err != nil {
			return nil, err
		}
	}
	if port < 0 || port > portMax {
		return nil, &net.AddrError{Err: "invalid port", Addr: service}
	}
	ips, err := s.hosts(ctx, resolver, host, family, listen)
	if err != nil {
		return nil, err
	}
	var found []netip.AddrPort
	for _, ip := range ips {
		if ip = ip.Unmap(); family == 0 || ip.Is4() == (family == 4) {
			found = append(found, netip.AddrPortFrom(ip, uint16(port)))
		}
	}
	if len(found) == 0 {
		return nil, &net.AddrError{Err: "no suitable address found", Addr: host}
	}
	return found, nil
}

// hosts returns the addresses of a host. Without one, or with the unspecified address,
// a program means itself, wherever it listens; package net has it so.
func (s *Stack) hosts(ctx context.Context, resolver *net.Resolver, host string, family int, listen bool) ([]netip.Addr, error) {
	if host == "" {
		host = netip.IPv4Unspecified().String()
		if family == 6 || family == 0 && !s.has(4) {
			host = netip.IPv6Unspecified().String()
		}
	}
	ip, err := netip.ParseAddr(host)
	switch own := s.self(); {
	case err == nil && ip.IsUnspecified() && !listen && own != nil:
		if ip.Is4() {
			return own[:1], nil
		}
		return own[1:], nil
	case err == nil:
		return []netip.Addr{ip}, nil
	case resolver != nil:
		return resolver.LookupNetIP(ctx, "ip", host)
	}
	return s.LookupNetIP(ctx, host)
}
