// Package uplink joins a network to an interface of the host: a TAP, or one that is
// used by packet sockets or AF_XDP. It runs in a process of its own, which the
// supervisor starts and to which it hands the interface's descriptors; so the process
// needs no privilege, and its successor finds the interface as it was, with its
// carrier and with the frames that came in meanwhile.
//
// Like any gateway it is a client of the network server, and does not notice its death.
//
// Trust: what comes in is what a hostile network might have sent. The switch lets it
// speak for nobody who has a port.
package uplink

import (
	"fmt"
	"os"

	"github.com/quintet-os/quintet/network/link"
	"github.com/quintet-os/quintet/network/link/packet"
	"github.com/quintet-os/quintet/network/link/tap"
	"github.com/quintet-os/quintet/network/link/xdp"
	"github.com/quintet-os/quintet/supervisor/topology"
)

// Open makes a link of the descriptors that the supervisor hands over from first on:
// the queues of a TAP; a packet socket; or, of AF_XDP, the program's attachment, the
// holder of the interface's promiscuity, and socket and memory of each queue.
func Open(u *topology.Uplink, mtu, first int) (link.Link, error) {
	l, err := open(u, mtu, first)
	if err != nil {
		return nil, fmt.Errorf("uplink %s: %w", u.Name, err)
	}
	return l, nil
}

func open(u *topology.Uplink, mtu, first int) (link.Link, error) {
	switch u.Kind {
	case topology.TAP:
		var queues []int
		for i := range u.Queues {
			queues = append(queues, first+i)
		}
		return tap.New(queues, mtu)
	case topology.Packet:
		return packet.New(first, u.Interface, mtu), nil
	case topology.XDP:
		d := &xdp.Descriptors{Program: first, Holder: first + 1}
		for i := range u.Queues {
			at := first + 2 + 2*i
			d.Queues = append(d.Queues, xdp.Queue{Socket: at, Memory: at + 1})
		}
		return xdp.New(d, u.Interface, mtu)
	}
	return nil, fmt.Errorf("kind %s has no interface: %w", u.Kind, os.ErrInvalid)
}
