package main

import (
	"errors"
	"fmt"
	"net"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/link/sharedmem"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/quintet-os/quintet/bench"
	"github.com/quintet-os/quintet/internal/unix"
)

const (
	joinWait  = 10 * time.Second
	joinRetry = 2 * time.Millisecond
)

// joinSharedmem connects two stacks by gVisor's queues in shared memory, without
// anything in between. The program that listens makes the queues, waits for the
// other at the socket and hands them to it.
func joinSharedmem(m bench.Member) (bench.ProgramNetwork, error) {
	open := sharedmem.New
	options := sharedmem.Options{MTU: uint32(m.MTU), BufferSize: sharedmem.DefaultBufferSize, LinkAddress: macOf(m),
		RXChecksumOffload: true, TXChecksumOffload: true}
	var socket *net.UnixConn
	var err error
	if m.Program == 1 {
		open = sharedmem.NewServerEndpoint
		socket, options.TX, options.RX, err = giveQueues(m.Socket)
	} else {
		socket, options.TX, options.RX, err = takeQueues(m.Socket)
	}
	if err != nil {
		return nil, err
	}
	// The link reads from it in a way that would block the whole runtime if it were
	// made blocking, as File does.
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	if err := raw.Control(func(fd uintptr) { options.PeerFD = int(fd) }); err != nil {
		return nil, err
	}
	keep = append(keep, socket)
	return hostOn(open, options, m)
}

func hostOn(open func(sharedmem.Options) (stack.LinkEndpoint, error), options sharedmem.Options, m bench.Member) (bench.ProgramNetwork, error) {
	link, err := open(options)
	if err != nil {
		return nil, fmt.Errorf("a link in shared memory: %w", err)
	}
	return newHost(link, m.Address)
}

func giveQueues(path string) (c *net.UnixConn, tx, rx sharedmem.QueueConfig, err error) {
	queues, err := sharedmem.NewQueuePair(sharedmem.QueueOptions{})
	if err != nil {
		return nil, tx, rx, err
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, tx, rx, err
	}
	defer l.Close()
	if c, err = l.AcceptUnix(); err != nil {
		return nil, tx, rx, err
	}
	tx, rx = queues.TXQueueConfig(), queues.RXQueueConfig()
	return c, tx, rx, errors.Join(unix.SendPacket(c, []byte{0}, tx.FDs()...), unix.SendPacket(c, []byte{0}, rx.FDs()...))
}

func takeQueues(path string) (c *net.UnixConn, tx, rx sharedmem.QueueConfig, err error) {
	for began := time.Now(); ; time.Sleep(joinRetry) {
		c, err = net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
		if err == nil {
			break
		}
		if time.Since(began) > joinWait {
			return nil, tx, rx, err
		}
	}
	for _, queue := range []*sharedmem.QueueConfig{&tx, &rx} {
		var packet [1]byte
		_, fds, err := unix.ReceivePacket(c, packet[:], 4, true)
		if err != nil {
			return nil, tx, rx, fmt.Errorf("receive a queue: %w", err)
		}
		if *queue, err = sharedmem.QueueConfigFromFDs(fds); err != nil {
			return nil, tx, rx, err
		}
	}
	return c, tx, rx, nil
}
