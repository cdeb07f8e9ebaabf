// Package tap is the gateway for programs that know nothing of Quintet: it puts a
// program into a network namespace of its own, whose one interface, a TAP, is a port
// of the switch. Where the host gives no TAP to this user, the interface is one end of a
// pair, and the gateway speaks by a packet socket on the other, in a second namespace.
//
// The gateway is a client of the network server like any other. When the server dies,
// the interface keeps its carrier, addresses and queue, and the kernel's connections go
// on; when the gateway dies, the namespace stays with its programs, without a carrier.
//
// # Trust
//
// The programs are hostile to the network: the switch lets the port send from its own
// MAC and addresses only, whatever the interface is given inside. They are not confined
// in any other way: files, processes and the rest are those of the host.
package tap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"

	"github.com/quintet-os/quintet/internal/netns"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/client/frames"
	"github.com/quintet-os/quintet/network/link"
	"github.com/quintet-os/quintet/network/link/packet"
	"github.com/quintet-os/quintet/network/link/pump"
	"github.com/quintet-os/quintet/network/link/tap"
)

// interfaceName is what the interface is called inside.
const interfaceName = "eth0"

// pairName is what the other end of a pair is called, in its own namespace.
const pairName = "port"

// Config describes a gateway.
type Config struct {
	// Port of the switch, with the same MAC and addresses.
	Port      *frames.Port
	MAC       network.MAC
	MTU       int
	Addresses []netip.Prefix
	// Gateways are the routers of last resort, at most one of each family.
	Gateways []netip.Addr
	// Pair takes a pair of interfaces even where there is TAP.
	Pair bool
}

// Gateway is a namespace and its port.
type Gateway struct {
	port      *frames.Port
	namespace *netns.Namespace
	behind    *netns.Namespace // with the other end of the pair; nil with a TAP
	link      link.Link
	pump      *pump.Pump
	cancel    context.CancelFunc
	ended     chan struct{}
	err       error // of the pump; set before ended is closed
}

// New makes a namespace and joins it to the port, which it owns from now on, even if
// it fails. It needs CAP_SYS_ADMIN and CAP_NET_ADMIN; errors tell what is missing.
func New(cfg Config) (*Gateway, error) {
	g := &Gateway{port: cfg.Port, ended: make(chan struct{})}
	if err := g.open(cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("gateway tap: %w", err), g.release())
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	go func() {
		defer close(g.ended)
		g.err = g.pump.Run(ctx)
	}()
	i := netns.Interface{Name: interfaceName, MAC: net.HardwareAddr(cfg.MAC[:]), MTU: cfg.MTU, Addresses: cfg.Addresses, Gateways: cfg.Gateways}
	if err := g.namespace.Configure(i); err != nil {
		return nil, errors.Join(fmt.Errorf("gateway tap: %w", err), g.Close())
	}
	return g, nil
}

func (g *Gateway) open(cfg Config) error {
	var err error
	if g.namespace, err = netns.New(); err != nil {
		return err
	}
	if !cfg.Pair {
		g.link, err = g.openTAP(cfg.MTU)
	}
	if cfg.Pair || errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		g.link, err = g.openPair(cfg.MTU)
	}
	if err == nil {
		g.pump = pump.New(g.link, cfg.Port)
	}
	return err
}

func (g *Gateway) openTAP(mtu int) (l link.Link, err error) {
	err = g.namespace.Do(func() error {
		queues, err := tap.Open(interfaceName, 1, false)
		if err == nil {
			l, err = tap.New(queues, mtu)
		}
		return err
	})
	return l, err
}

func (g *Gateway) openPair(mtu int) (l link.Link, err error) {
	if g.behind, err = netns.New(); err != nil {
		return nil, err
	}
	inside, outside := netns.Interface{Name: interfaceName, MTU: mtu}, netns.Interface{Name: pairName, MTU: mtu}
	if err := g.namespace.Veth(inside, g.behind, outside); err != nil {
		return nil, err
	}
	index, err := g.behind.Index(pairName)
	if err != nil {
		return nil, err
	}
	err = g.behind.Do(func() error {
		fd, err := packet.Open(index)
		if err == nil {
			l = packet.New(fd, pairName, mtu)
		}
		return err
	})
	return l, err
}

// Start starts a program inside.
func (g *Gateway) Start(program *exec.Cmd) error { return g.namespace.Start(program) }

// Do calls f inside; sockets that it opens are the namespace's for ever.
func (g *Gateway) Do(f func() error) error { return g.namespace.Do(f) }

// Ended is closed when the port or the interface has come to its end.
func (g *Gateway) Ended() <-chan struct{} { return g.ended }

// Close takes the interface away from the programs that still run inside. It returns
// why the gateway had ended before, if it had.
func (g *Gateway) Close() error {
	g.cancel()
	<-g.ended
	return errors.Join(g.err, g.release())
}

func (g *Gateway) release() error {
	var errs []error
	if g.link != nil {
		errs = append(errs, g.link.Close())
	}
	for _, n := range []*netns.Namespace{g.namespace, g.behind} {
		if n != nil {
			errs = append(errs, n.Close())
		}
	}
	return errors.Join(append(errs, g.port.Close())...)
}
