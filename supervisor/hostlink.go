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
	name   string
	index  int // of the interface
	files  []*os.File
	queues int
	mode   topology.XDPMode
	made   *ownTAP // nil: it is not the supervisor's
	gone   bool    // the interface is not that of its name any more; guarded by Supervisor.mu
}

// ownTAP is a TAP that a supervisor has made. If somebody removes it, it is made again,
// and keeps its address, by which its neighbours know it.
type ownTAP struct {
	mac net.HardwareAddr
}

// openHostLink opens the interface of an uplink. There must be one, except of a TAP
// that has not been there before, first, or that was a supervisor's own.
func openHostLink(u *topology.Uplink, mtu int, own *ownTAP) (*hostLink, error) {
	if u.Kind == topology.TAP && own != nil {
		return openTAP(u, mtu, own)
	}
	device, err := netns.Lookup(u.Interface)
	if err != nil {
		return nil, fmt.Errorf("%w; `ip link` lists those of this host", err)
	}
	if u.Kind == topology.TAP {
		return openTAP(u, mtu, nil)
	}
	if device.MTU < mtu {
		return nil, errors.New(tooSmall(u.Interface, device.MTU, mtu))
	}
	if u.Kind == topology.XDP {
		return openXDP(u, device.Index, mtu)
	}
	fd, err := packet.Open(device.Index)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", u.Interface, err)
	}
	return &hostLink{name: u.Interface, index: device.Index, files: files(u.Interface, fd), queues: 1}, nil
}

// tapAlias marks the interfaces that a supervisor has made, and so removes.
const tapAlias = "quintet"

// openTAP opens a TAP, and makes it if there is none and own is not nil. What a
// supervisor has made is removed at an orderly end, and only then: it outlives a
// supervisor that was killed, with its addresses, and the next one takes it over.
func openTAP(u *topology.Uplink, mtu int, own *ownTAP) (*hostLink, error) {
	_, missing := netns.Lookup(u.Interface)
	queues, err := tap.Open(u.Interface, u.Queues, true)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", u.Interface, err)
	}
	l := &hostLink{name: u.Interface, files: files(u.Interface, queues...), queues: u.Queues}
	var mac net.HardwareAddr
	if missing != nil && own != nil {
		mac, l.made = own.mac, own
		err = netns.SetAlias(u.Interface, tapAlias)
	}
	alias, aliasErr := netns.Alias(u.Interface)
	if err = errors.Join(err, aliasErr, netns.Raise(u.Interface, mac, mtu)); err != nil {
		l.close()
		return nil, err
	}
	now, err := netns.Lookup(u.Interface)
	if err != nil {
		l.close()
		return nil, err
	}
	if l.index = now.Index; alias == tapAlias {
		l.made = &ownTAP{mac: now.MAC}
	}
	return l, nil
}

func openXDP(u *topology.Uplink, index, mtu int) (*hostLink, error) {
	l := &hostLink{name: u.Interface, index: index, queues: u.Queues, mode: u.Mode}
	if l.mode == topology.XDPAuto {
		l.mode = topology.XDPNative
	}
	open := func() (*xdp.Descriptors, error) {
		mode := xdp.Native
		if l.mode == topology.XDPGeneric {
			mode = xdp.Generic
		}
		return xdp.Open(index, u.Queues, mtu, mode)
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
	if l.made != nil {
		_ = tap.Persist(int(l.files[0].Fd()), false) // it may have gone
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
