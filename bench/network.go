package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/quintet-os/quintet/network"
)

const (
	trafficServer  = "net"
	trafficNetwork = "lan"
	// trafficBits is the length of the network that all programs are in.
	trafficBits = 24
)

// trafficTopology is a system with one network of so many applications.
func trafficTopology(programs int) string {
	var text strings.Builder
	fmt.Fprintf(&text, "version: 1\nservers: {%s: {kind: network}}\nnetworks: {%s: {server: %s, subnets: [%v]}}\napplications:\n",
		trafficServer, trafficNetwork, trafficServer, netip.PrefixFrom(trafficAddress(0), trafficBits).Masked())
	for i := range programs {
		fmt.Fprintf(&text, "  %s: {networks: {%s: {mac: %q, addresses: [%v]}}}\n", trafficName(i), trafficNetwork, trafficMAC(i), trafficAddress(i))
	}
	return text.String()
}

func trafficName(program int) string { return fmt.Sprintf("program-%d", program+1) }

func trafficMAC(program int) network.MAC { return network.MAC{2, 0, 0, 0, 0, byte(program + 2)} }

// trafficAddress is that of a program, on every kind of network.
func trafficAddress(program int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 99, 0, byte(program + 2)})
}

// wire is one run of the network benchmarks.
type wire struct {
	Options
}

// Network measures two programs that exchange traffic through the network server,
// beside the same programs on a veth pair of the kernel.
func Network(ctx context.Context, o Options) (rows []Row, err error) {
	w := &wire{Options: o.withDefaults()}
	return w.run(ctx, []part{{"stream", w.stream}, {"ping", w.ping}, {"connect", w.connect}, {"libraries", w.libraries},
		{"forwarding", w.forwarding}, {"death", w.gaps}, {"steady", w.steady}, {"attack", w.attack}})
}

// during runs f while a system with so many programs on one network is up.
func (w *wire) during(ctx context.Context, programs int, f func(*trafficRoute) error) error {
	route, err := openServer(ctx, programs)
	if err != nil {
		return err
	}
	return errors.Join(f(route), route.close())
}
