package client_test

import (
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/client"
	"github.com/quintet-os/quintet/network/client/frames"
	"github.com/quintet-os/quintet/network/networktest"
)

// A router, which takes packets for any address, claims no neighbour's.
func TestRouterClaimsNobodysAddress(t *testing.T) {
	r := networktest.New(t)
	host := networktest.Host(1)
	m := r.Join(network.PortConfig{MAC: host.MAC, Addresses: host.Addresses, Uplink: true}, 64)
	port, err := frames.NewPort(m.Client, m.Region, m.Buffers)
	if err != nil {
		t.Fatal(err)
	}
	cfg := networktest.StackConfig(host)
	cfg.Forward = &client.Forwarder{
		TCP:  func(o *client.Opening) { o.Fail(syscall.ECONNREFUSED) },
		UDP:  func(_, _ netip.AddrPort, _ func() (*client.UDPConn, error)) bool { return false },
		Echo: func(_, _ netip.Addr, _, _ uint16, _ []byte, _ func([]byte) error) {},
	}
	router, err := client.NewStack(port, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer router.Abort()
	a, b := r.Stack(2), r.Stack(3)
	r.Serve()
	l, err := b.Listen("tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, to := range append(b.Addresses(), router.Addresses()...) {
		c, err := a.Dial("tcp", netip.AddrPortFrom(to.Addr(), 7).String())
		if err == nil {
			c.Close()
		}
		if refused := err != nil; refused != slices.Contains(host.Addresses, to.Addr()) {
			t.Errorf("%v: %v", to, err)
		}
	}
	r.Kill()
	if c, _ := r.Core.Counters(m.Session); c.Drops != [network.DropsEnd]uint64{} || c.Sent == 0 {
		t.Errorf("the router's port counts %+v", c)
	}
}
