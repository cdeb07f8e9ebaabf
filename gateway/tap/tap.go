// Package tap is the gateway for programs that know nothing of Quintet: it puts a
// program into a network namespace of its own, whose one interface, a TAP, is a port
// of the switch.
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
	"os/exec"

	"github.com/quintet-os/quintet/internal/netns"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/client"
	"github.com/quintet-os/quintet/network/link/pump"
	"github.com/quintet-os/quintet/network/link/tap"
)

// interfaceName is what the interface is called inside.
const interfaceName = "eth0"

// Config describes a gateway.
type Config struct {
	// Port of the switch, with the same MAC and addresses.
	Port      *client.Port
	MAC       network.MAC
	MTU       int
	Addresses []netip.Prefix
	// Gateways are the routers of last resort, at most one of each family.
	Gateways []netip.Addr
}

// Gateway is a namespace and its port.
type Gateway struct {
	port      *client.Port
	namespace *netns.Namespace
	link      *tap.Link
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
	return g.namespace.Do(func() error {
		queues, err := tap.Open(interfaceName, 1, false)
		if err != nil {
			return err
		}
		l, err := tap.New(queues, cfg.MTU)
		if err != nil {
			return err
		}
		g.link, g.pump = l, pump.New(l, cfg.Port)
		return nil
	})
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
	if g.namespace != nil {
		errs = append(errs, g.namespace.Close())
	}
	return errors.Join(append(errs, g.port.Close())...)
}
