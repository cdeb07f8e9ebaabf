package client_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/quintet-os/quintet/network/networktest"
)

// kernel is package net, over the host's loopback interface.
type kernel struct{ net.Dialer }

func (*kernel) Listen(network, address string) (net.Listener, error) {
	return net.Listen(network, address)
}

func (*kernel) ListenPacket(network, address string) (net.PacketConn, error) {
	return net.ListenPacket(network, address)
}

// The conformance tests ask of a stack what package net does over the kernel's.
func TestConformanceOfTheKernel(t *testing.T) {
	k := new(kernel)
	networktest.Run(t, networktest.Peers{A: k, B: k, IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}})
}
