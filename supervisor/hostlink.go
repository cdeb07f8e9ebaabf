package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/quintet-os/quintet/internal/netns"
	"github.com/quintet-os/quintet/network/link/packet"
	"github.com/quintet-os/quintet/network/link/tap"
	"github.com/quintet-os/quintet/network/link/xdp"
	"github.com/quintet-os/quintet/supervisor/topology"
)

const sigkill = syscall.SIGKILL

// hostLink is an interface of the host that an uplink uses. Its descriptors are kept
// here: while the uplink's process is replaced, the interface keeps its carrier and
// what comes in waits in the kernel.
type hostLink struct {
	files   []*os.File
	queues  int
	mode    topology.XDPMode
	release func() error // undoes what was made; nil for nothing
}

func openHostLink(u *topology.Uplink, mtu int) (*hostLink, error) {
	switch u.Kind {
	case topology.TAP:
		return openTAP(u, mtu)
	case topology.Packet, topology.XDP:
		device, err := net.InterfaceByName(u.Interface)
		if err != nil {
			return nil, fmt.Errorf("interface %s: %w; `ip link` lists those of this host", u.Interface, err)
		}
		if device.MTU < mtu {
			return nil, fmt.Errorf("interface %s has an MTU of %d, its network one of %d; raise that of the interface, or lower the network's", u.Interface, device.MTU, mtu)
		}
		if u.Kind == topology.XDP {
			return openXDP(u, device)
		}
		fd, err := packet.Open(device.Index)
		if err != nil {
			return nil, fmt.Errorf("interface %s: %w", u.Interface, err)
		}
		return &hostLink{files: files(u.Interface, fd), queues: 1}, nil
	}
	return nil, fmt.Errorf("a %s uplink has no interface", u.Kind)
}

// tapAlias marks the interfaces that a supervisor has made, and so removes.
const tapAlias = "quintet"

// openTAP makes the interface, unless it is there. What a supervisor has made is
// removed at an orderly end, and only then: it outlives a supervisor that was killed,
// with its addresses, and the next one takes it over.
func openTAP(u *topology.Uplink, mtu int) (*hostLink, error) {
	_, missing := net.InterfaceByName(u.Interface)
	queues, err := tap.Open(u.Interface, u.Queues, true)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", u.Interface, err)
	}
	l := &hostLink{files: files(u.Interface, queues...), queues: u.Queues}
	if missing != nil {
		err = netns.SetAlias(u.Interface, tapAlias)
	}
	alias, aliasErr := netns.Alias(u.Interface)
	if err = errors.Join(err, aliasErr, netns.Raise(u.Interface, mtu)); err != nil {
		l.close()
		return nil, err
	}
	if alias == tapAlias {
		l.release = func() error { return tap.Persist(int(l.files[0].Fd()), false) }
	}
	return l, nil
}

func openXDP(u *topology.Uplink, device *net.Interface) (*hostLink, error) {
	l := &hostLink{queues: u.Queues, mode: u.Mode}
	if l.mode == topology.XDPAuto {
		l.mode = topology.XDPNative
	}
	open := func() (*xdp.Descriptors, error) {
		mode := xdp.Native
		if l.mode == topology.XDPGeneric {
			mode = xdp.Generic
		}
		return xdp.Open(device.Index, u.Queues, device.MTU, mode)
	}
	d, err := open()
	if err != nil && u.Mode == topology.XDPAuto {
		l.mode = topology.XDPGeneric
		if again, second := open(); second == nil {
			d, err = again, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", u.Interface, err)
	}
	fds := []int{d.Program, d.Holder}
	for _, q := range d.Queues {
		fds = append(fds, q.Socket, q.Memory)
	}
	l.files = files(u.Interface, fds...)
	return l, nil
}

func files(name string, fds ...int) []*os.File {
	var all []*os.File
	for _, fd := range fds {
		all = append(all, os.NewFile(uintptr(fd), name))
	}
	return all
}

func (l *hostLink) close() {
	if l.release != nil {
		_ = l.release()
	}
	for _, f := range l.files {
		_ = f.Close()
	}
}

// listenOnHost opens the socket of a published port.
func listenOnHost(p topology.Publish) (*os.File, error) {
	type filer interface{ File() (*os.File, error) }
	var socket interface{ Close() error }
	var err error
	if p.Protocol == "udp" {
		socket, err = new(net.ListenConfig).ListenPacket(context.Background(), "udp", p.Listen.String())
	} else {
		socket, err = new(net.ListenConfig).Listen(context.Background(), "tcp", p.Listen.String())
	}
	if err != nil {
		if errors.Is(err, syscall.EACCES) {
			return nil, fmt.Errorf("%w; ports below 1024 need privileges", err)
		}
		return nil, err
	}
	defer socket.Close()
	return socket.(filer).File()
}
