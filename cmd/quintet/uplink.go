package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/quintet-os/quintet/app"
	"github.com/quintet-os/quintet/gateway/nat"
	gateway "github.com/quintet-os/quintet/gateway/uplink"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/network/dns"
	"github.com/quintet-os/quintet/network/link/pump"
	"github.com/quintet-os/quintet/supervisor"
	"github.com/quintet-os/quintet/supervisor/topology"
)

// uplink plays an uplink of the topology until its port or the supervisor has gone.
func uplink(conn *broker.Conn, ready broker.Ready) error {
	var config supervisor.UplinkConfig
	if err := json.Unmarshal([]byte(os.Getenv(supervisor.UplinkVariable)), &config); err != nil {
		return fmt.Errorf("%s: %w", supervisor.UplinkVariable, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	leases := gateway.NewLeases()
	a, err := app.Connect(ctx, app.WithConnection(conn), app.WithName(config.Name), app.WithLeases(leases.Ask))
	if err != nil {
		return err
	}
	if err := a.Broker().Tell(&ready); err != nil {
		return err
	}
	port, err := a.Port(ctx, config.Network)
	if err != nil {
		return err
	}
	go func() {
		<-a.Broker().Gone()
		cancel()
	}()
	if config.Kind == topology.User {
		return carry(ctx, &config, a, port)
	}
	l, err := gateway.Open(&config.Uplink, port.Interface.MTU, supervisor.UplinkFD+1)
	if err != nil {
		return err
	}
	p := pump.New(l, port.Port)
	if config.DHCP {
		p.Filter = leases.Start(p.Send, func(b broker.Body) { _ = a.Broker().Tell(b) }) // the supervisor's end is ours
		defer leases.Stop()
	}
	return p.Run(ctx)
}

// carry runs a user uplink.
func carry(ctx context.Context, config *supervisor.UplinkConfig, a *app.App, port *app.Port) error {
	published, err := publish(config)
	if err != nil {
		return err
	}
	i := &port.Interface
	g, err := nat.New(nat.Config{Port: port.Port, MAC: i.MAC, MTU: i.MTU, Addresses: i.Addresses,
		Resolvers: resolvers(a.Broker(), config.Resolvers), Names: port.Lookup, Publish: published, Memory: config.Memory})
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-g.Ended():
	}
	return g.Close()
}

// resolversAge is how old what is known of the host's resolvers may be.
const resolversAge = 5 * time.Second

// resolvers are those of the topology, or those that the host has at the time.
func resolvers(supervisor *broker.Client, fixed []netip.AddrPort) dns.Resolvers {
	if len(fixed) > 0 {
		return dns.Fixed(fixed...)
	}
	var mu sync.Mutex // guards the following; held while the supervisor is asked
	var known []netip.AddrPort
	var until time.Time
	return func(ctx context.Context) []netip.AddrPort {
		mu.Lock()
		defer mu.Unlock()
		if time.Now().Before(until) {
			return known
		}
		m, err := supervisor.Ask(ctx, &broker.AskResolvers{})
		if now, ok := m.Body.(*broker.HostResolvers); ok && err == nil {
			known = now.Addresses
		} // else those that are known, for now
		until = time.Now().Add(resolversAge)
		return known
	}
}

// publish takes over the sockets that listen already.
func publish(config *supervisor.UplinkConfig) ([]nat.Publish, error) {
	var all []nat.Publish
	for i, p := range config.Publish {
		f := os.NewFile(uintptr(supervisor.UplinkFD+1+i), p.Listen.String())
		each := nat.Publish{Network: p.Protocol, Listen: p.Listen, Proxy: p.Proxy, To: net.JoinHostPort(p.Application, strconv.Itoa(int(p.Port)))}
		var err error
		if p.Protocol == "udp" {
			each.Socket, err = net.FilePacketConn(f)
		} else {
			each.Listener, err = net.FileListener(f)
		}
		if err != nil {
			return nil, fmt.Errorf("publish %v: %w", p.Listen, err)
		}
		_ = f.Close()
		all = append(all, each)
	}
	return all, nil
}
