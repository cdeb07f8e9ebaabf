package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/containers/gvisor-tap-vsock/pkg/tap"
	"github.com/containers/gvisor-tap-vsock/pkg/types"
	"github.com/sirupsen/logrus"
	"gvisor.dev/gvisor/pkg/tcpip/link/fdbased"

	"github.com/quintet-os/quintet/bench"
)

// serveTapVsock is the process in the middle: gvisor-tap-vsock's switch with the
// link of its gateway, which nobody talks to. The gateway's services do not build with
// the version of gVisor that Quintet needs. Of its protocols, that of BESS is the
// cheapest: a packet of a SOCK_SEQPACKET socket is a frame.
func serveTapVsock(socket string, mtu int, released func()) error {
	logrus.SetOutput(io.Discard) // it logs every disconnection
	gateway, err := tap.NewLinkEndpoint(false, uint32(mtu), "02:00:00:00:00:01", "10.99.0.1", nil)
	if err != nil {
		return err
	}
	between := tap.NewSwitch(false)
	gateway.Connect(between)
	between.Connect(gateway)
	if _, err := newHost(gateway, "10.99.0.1"); err != nil {
		return err
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: socket, Net: "unixpacket"})
	if err != nil {
		return err
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go between.Accept(context.Background(), c, types.BessProtocol)
		}
	}()
	released()
	return nil
}

// joinTapVsock connects a stack to it.
func joinTapVsock(m bench.Member) (bench.ProgramNetwork, error) {
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: m.Socket, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	file, err := c.File()
	if err = errors.Join(err, c.Close()); err != nil {
		return nil, err
	}
	link, err := fdbased.New(&fdbased.Options{FDs: []int{int(file.Fd())}, MTU: uint32(m.MTU), EthernetHeader: true,
		Address: macOf(m), RXChecksumOffload: true})
	if err != nil {
		return nil, fmt.Errorf("a link on a socket: %w", err)
	}
	keep = append(keep, file)
	return newHost(link, m.Address)
}

// keep are files and connections whose descriptors links use.
var keep []any
