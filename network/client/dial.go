package client

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
)

// portMax is the highest port of TCP and UDP.
const portMax = 65535

// Dial connects like net.Dial.
func (s *Stack) Dial(network, address string) (net.Conn, error) {
	return s.DialContext(context.Background(), network, address)
}

// DialContext connects like net.Dialer.DialContext. Networks are tcp, tcp4, tcp6,
// udp, udp4 and udp6. The addresses of a name are tried one after the other.
// Errors are *net.OpError with what package net would have: syscall errors,
// *net.DNSError and the context's.
func (s *Stack) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	base, _, err := split(network)
	var remotes []netip.AddrPort
	if err == nil {
		remotes, err = s.resolve(ctx, network, address, false)
	}
	for _, remote := range remotes {
		var c net.Conn
		if base == "tcp" {
			c, err = s.dialTCP(ctx, remote)
		} else {
			c, err = s.dialUDP(remote)
		}
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, &net.OpError{Op: "dial", Net: network, Addr: plainAddr{network, address}, Err: inner(err)}
}

func (s *Stack) dialTCP(ctx context.Context, remote netip.AddrPort) (net.Conn, error) {
	full, protocol := fullAddress(remote)
	c, err := gonet.DialContextTCP(ctx, s.stack, full, protocol)
	if err != nil {
		return nil, err
	}
	return &conn{TCPConn: c}, nil
}

func (s *Stack) dialUDP(remote netip.AddrPort) (net.Conn, error) {
	full, protocol := fullAddress(remote)
	c, err := gonet.DialUDP(s.stack, nil, &full, protocol)
	if err != nil {
		return nil, err
	}
	return &packetConn{UDPConn: c}, nil
}

// Listen announces like net.Listen. Networks are tcp, tcp4 and tcp6; without a
// host, tcp accepts both families.
func (s *Stack) Listen(network, address string) (net.Listener, error) {
	local, protocol, err := s.local(network, "tcp", address)
	if err == nil {
		var l *gonet.TCPListener
		if l, err = gonet.ListenTCP(s.stack, local, protocol); err == nil {
			return &listener{TCPListener: l}, nil
		}
	}
	return nil, &net.OpError{Op: "listen", Net: network, Addr: plainAddr{network, address}, Err: inner(err)}
}

// ListenPacket announces like net.ListenPacket. Networks are udp, udp4 and udp6;
// without a host, udp receives both families.
func (s *Stack) ListenPacket(network, address string) (net.PacketConn, error) {
	local, protocol, err := s.local(network, "udp", address)
	if err == nil {
		var c *gonet.UDPConn
		if c, err = gonet.DialUDP(s.stack, &local, nil, protocol); err == nil {
			return &packetConn{UDPConn: c}, nil
		}
	}
	return nil, &net.OpError{Op: "listen", Net: network, Addr: plainAddr{network, address}, Err: inner(err)}
}

// local is the address to listen at.
func (s *Stack) local(network, base, addr string) (tcpip.FullAddress, tcpip.NetworkProtocolNumber, error) {
	got, family, err := split(network)
	if err == nil && got != base {
		err = net.UnknownNetworkError(network)
	}
	if err != nil {
		return tcpip.FullAddress{}, 0, err
	}
	at, err := s.resolve(context.Background(), network, addr, true)
	if err != nil {
		return tcpip.FullAddress{}, 0, err
	}
	if at[0].Addr().IsUnspecified() {
		// An IPv6 endpoint bound to no address takes IPv4 too.
		protocol := ipv6.ProtocolNumber
		if family == 4 || family == 0 && !s.has(6) {
			protocol = ipv4.ProtocolNumber
		}
		return tcpip.FullAddress{NIC: nic, Port: at[0].Port()}, protocol, nil
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

// resolve returns the addresses that a host and port stand for, at least one.
func (s *Stack) resolve(ctx context.Context, network, addr string, listen bool) ([]netip.AddrPort, error) {
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
	if host == "" {
		ip := netip.IPv4Unspecified()
		if family == 6 || family == 0 && !s.has(4) {
			ip = netip.IPv6Unspecified()
		}
		if !listen {
			ip = s.loopback(family)
		}
		return []netip.AddrPort{netip.AddrPortFrom(ip, uint16(port))}, nil
	}
	ips, err := s.LookupNetIP(ctx, host)
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

// loopback is what a program means by no host: itself.
func (s *Stack) loopback(family int) netip.Addr {
	for _, p := range s.cfg.Addresses {
		if family == 0 || p.Addr().Is4() == (family == 4) {
			return p.Addr()
		}
	}
	return netip.IPv4Unspecified()
}

func fullAddress(a netip.AddrPort) (tcpip.FullAddress, tcpip.NetworkProtocolNumber) {
	protocol := ipv4.ProtocolNumber
	if a.Addr().Is6() {
		protocol = ipv6.ProtocolNumber
	}
	full := tcpip.FullAddress{Addr: address(a.Addr()), Port: a.Port()}
	if a.Addr().IsLinkLocalUnicast() {
		full.NIC = nic
	}
	return full, protocol
}

// plainAddr is an address as the caller wrote it.
type plainAddr struct{ network, text string }

func (a plainAddr) Network() string { return a.network }
func (a plainAddr) String() string  { return a.text }

// inner takes the *net.OpError of the adapter off, since ours says more.
func inner(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return translate(err)
}
