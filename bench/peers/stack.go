package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/quintet-os/quintet/bench"
)

const nic = 1

// host is a TCP/IP stack on a link. It is a bench.ProgramNetwork.
type host struct{ stack *stack.Stack }

func newHost(link stack.LinkEndpoint, address string) (*host, error) {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocolCUBIC},
	})
	// The options of network/client.
	sack, recovery, moderate := tcpip.TCPSACKEnabled(true), tcpip.TCPRACKLossDetection, tcpip.TCPModerateReceiveBufferOption(true)
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: 1 << 20, Max: 8 << 20}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: 1 << 20, Max: 6 << 20}
	for _, option := range []tcpip.SettableTransportProtocolOption{&sack, &recovery, &moderate, &receive, &send} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return nil, fmt.Errorf("set an option of TCP: %v", err)
		}
	}
	if err := s.CreateNIC(nic, link); err != nil {
		return nil, fmt.Errorf("create the interface: %v", err)
	}
	own, err := netip.ParseAddr(address)
	if err != nil {
		return nil, err
	}
	if err := s.AddProtocolAddress(nic, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddrFromSlice(own.AsSlice()).WithPrefix()}, stack.AddressProperties{}); err != nil {
		return nil, fmt.Errorf("add the address %v: %v", own, err)
	}
	s.AddRoute(tcpip.Route{Destination: header.IPv4EmptySubnet, NIC: nic})
	return &host{s}, nil
}

func (h *host) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	return gonet.DialContextTCP(ctx, h.stack, tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFromSlice(to.Addr().AsSlice()), Port: to.Port()}, ipv4.ProtocolNumber)
}

func (h *host) Listen(_, address string) (net.Listener, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	number, err := net.LookupPort("tcp", port)
	if err != nil {
		return nil, err
	}
	return gonet.ListenTCP(h.stack, tcpip.FullAddress{NIC: nic, Port: uint16(number)}, ipv4.ProtocolNumber)
}

// macOf is the MAC address of a program.
func macOf(m bench.Member) tcpip.LinkAddress {
	return tcpip.LinkAddress([]byte{2, 0, 0, 0, 0, byte(m.Program + 2)})
}
