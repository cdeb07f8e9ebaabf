package uplink

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/dhcp"
)

// leasesMax bounds what the supervisor asks before it is looked at.
const leasesMax = 2 * network.PortsMax

// Leases gets addresses for the ports of the network from the DHCP server behind the
// uplink, as the supervisor asks.
type Leases struct {
	asked  chan broker.Body
	tell   func(broker.Body)
	client *dhcp.Client
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// NewLeases returns leases that nobody gets before Start.
func NewLeases() *Leases { return &Leases{asked: make(chan broker.Body, leasesMax)} }

// Ask notes what the supervisor says, *broker.Lease or *broker.Release, and does not
// block. It may be called from any goroutine.
func (l *Leases) Ask(body broker.Body) {
	select {
	case l.asked <- body:
	default: // more than there can be ports: the supervisor gives them up in time
	}
}

// Start gets leases until Stop, with frames that send sends out of the link, and tells
// the supervisor. It returns what takes the answers out of the frames that come in.
func (l *Leases) Start(send func(frame []byte) error, tell func(broker.Body)) (filter func(frame []byte) (taken bool)) {
	l.tell = tell
	l.client = dhcp.New(dhcp.Config{
		Send:    send,
		Lost:    l.fail,
		Changed: func(mac network.MAC, now dhcp.Lease) { l.got(mac, &now) },

		Suspended: unix.Suspended,
	})
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.tasks.Go(func() {
		for {
			select {
			case <-l.ctx.Done():
				return
			case body := <-l.asked:
				l.do(body)
			}
		}
	})
	return l.client.Filter
}

// Stop ends the keeping of leases, without giving them back: the next process asks for
// the same ports, and gets the same addresses.
func (l *Leases) Stop() {
	l.cancel()
	l.client.Close()
	l.tasks.Wait()
}

func (l *Leases) do(body broker.Body) {
	switch b := body.(type) {
	case *broker.Lease:
		if mac, err := network.ParseMAC(b.MAC); err == nil {
			l.tasks.Go(func() { l.acquire(mac, b.Host) })
		}
	case *broker.Release:
		if mac, err := network.ParseMAC(b.MAC); err == nil {
			l.client.Release(mac)
		}
	}
}

// acquire asks until there is an answer: the supervisor releases what it does not want
// any more.
func (l *Leases) acquire(mac network.MAC, host string) {
	got, err := l.client.Acquire(l.ctx, mac, host)
	switch {
	case err == nil:
		l.got(mac, &got)
	case l.ctx.Err() == nil && !errors.Is(err, dhcp.KindClosed):
		l.fail(mac, err)
	}
}

func (l *Leases) got(mac network.MAC, lease *dhcp.Lease) {
	text, err := json.Marshal(network.Interface{MAC: mac, Addresses: lease.Addresses, Gateways: lease.Gateways, Resolvers: lease.Resolvers})
	if err != nil {
		l.fail(mac, err)
		return
	}
	l.tell(&broker.Leased{MAC: mac.String(), Interface: text})
}

func (l *Leases) fail(mac network.MAC, why error) {
	l.tell(&broker.Leased{MAC: mac.String(), Failed: why.Error()})
}
