package client

import (
	"fmt"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/link/loopback"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// loopbackNIC is the number of the interface by which a program reaches itself.
const loopbackNIC = nic + 1

// loopbacks are the addresses of a host for itself (RFC 1122, 3.2.1.3; RFC 4291, 2.5.3).
var loopbacks = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")}

// addLoopback gives the program an interface to itself, as every host has one. What
// comes from the port and claims to be for or from it is dropped by the stack.
func (s *Stack) addLoopback() error {
	if err := s.stack.CreateNIC(loopbackNIC, loopback.New()); err != nil {
		return fmt.Errorf("create the loopback interface: %v", err)
	}
	for _, p := range loopbacks {
		if err := s.addAddress(loopbackNIC, p); err != nil {
			return err
		}
	}
	return nil
}

// self are the addresses by which the program reaches itself.
func (s *Stack) self() (ips []netip.Addr) {
	if s.cfg.Forward != nil {
		return nil
	}
	for _, p := range loopbacks {
		ips = append(ips, p.Addr())
	}
	return ips
}

func (s *Stack) addAddress(id tcpip.NICID, p netip.Prefix) error {
	protocol := ipv4.ProtocolNumber
	if p.Addr().Is6() {
		protocol = ipv6.ProtocolNumber
	}
	own := tcpip.ProtocolAddress{Protocol: protocol, AddressWithPrefix: tcpip.AddressWithPrefix{Address: address(p.Addr()), PrefixLen: p.Bits()}}
	if err := s.stack.AddProtocolAddress(id, own, stack.AddressProperties{}); err != nil {
		return fmt.Errorf("add the address %v: %v", p, err)
	}
	s.stack.AddRoute(tcpip.Route{Destination: own.AddressWithPrefix.Subnet(), NIC: id})
	return nil
}
