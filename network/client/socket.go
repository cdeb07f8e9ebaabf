package client

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"
)

// socket is what sockets of all kinds have: an endpoint of the stack, deadlines and an
// end. All methods may be called from any goroutine.
type socket struct {
	stack   *Stack
	ep      tcpip.Endpoint
	queue   *waiter.Queue
	network string // of its errors

	readBy, writeBy deadline
	ended           atomic.Bool
	closed          chan struct{}
}

// endpoint opens one.
func (s *Stack) endpoint(transport tcpip.TransportProtocolNumber, protocol tcpip.NetworkProtocolNumber) (tcpip.Endpoint, *waiter.Queue, error) {
	queue := new(waiter.Queue)
	ep, err := s.stack.NewEndpoint(transport, protocol, queue)
	if err != nil {
		return nil, nil, errno(err)
	}
	return ep, queue, nil
}

func newSocket(s *Stack, network string, ep tcpip.Endpoint, queue *waiter.Queue) socket {
	return socket{stack: s, ep: ep, queue: queue, network: network, closed: make(chan struct{})}
}

// await calls try until it has something else to say than that it would block, and
// waits for events in between: until the deadline, the socket's end, or the link's.
func (s *socket) await(events waiter.EventMask, by *deadline, try func() tcpip.Error) error {
	if s.ended.Load() {
		return net.ErrClosed
	}
	passed := by.done()
	if isClosed(passed) {
		return os.ErrDeadlineExceeded
	}
	err := try()
	if !isWouldBlock(err) {
		return s.outcome(err)
	}
	entry, ready := waiter.NewChannelEntry(events | waiter.EventErr | waiter.EventHUp)
	s.queue.EventRegister(&entry)
	defer s.queue.EventUnregister(&entry)
	for {
		if err := try(); !isWouldBlock(err) {
			return s.outcome(err)
		}
		select {
		case <-passed:
			return os.ErrDeadlineExceeded
		case <-s.closed:
			return net.ErrClosed
		case <-s.stack.link.ended:
			return s.stack.gone()
		case <-ready:
		}
	}
}

func (s *socket) outcome(err tcpip.Error) error {
	switch {
	case err == nil:
		return nil
	case s.ended.Load():
		return net.ErrClosed
	case isClosed(s.stack.link.ended):
		return s.stack.gone()
	}
	return errno(err)
}

// gone says why the stack has no link any more.
func (s *Stack) gone() error {
	if err := s.Err(); err != nil {
		return fmt.Errorf("the network has gone: %w", err)
	}
	return net.ErrClosed
}

// end is the first part of Close; false if the socket has been closed before.
func (s *socket) end() bool {
	if s.ended.Swap(true) {
		return false
	}
	close(s.closed)
	s.stack.leave(s)
	return true
}

func (s *socket) errClosed() error { return s.opError("close", nil, net.ErrClosed) }

func (s *socket) opError(op string, remote net.Addr, err error) error {
	return &net.OpError{Op: op, Net: s.network, Source: s.local(), Addr: remote, Err: err}
}

// set is a change of an option.
func (s *socket) set(change func() tcpip.Error) error {
	if s.ended.Load() {
		return s.opError("set", nil, net.ErrClosed)
	}
	if err := change(); err != nil {
		return s.opError("set", nil, errno(err))
	}
	return nil
}

// SetDeadline is that of net.Conn.
func (s *socket) SetDeadline(t time.Time) error {
	if err := s.SetReadDeadline(t); err != nil {
		return err
	}
	return s.SetWriteDeadline(t)
}

// SetReadDeadline is that of net.Conn.
func (s *socket) SetReadDeadline(t time.Time) error { return s.setDeadline(&s.readBy, t) }

// SetWriteDeadline is that of net.Conn.
func (s *socket) SetWriteDeadline(t time.Time) error { return s.setDeadline(&s.writeBy, t) }

func (s *socket) setDeadline(d *deadline, t time.Time) error {
	if s.ended.Load() {
		return s.opError("set", nil, net.ErrClosed)
	}
	d.set(t)
	return nil
}

// SetReadBuffer sets the bytes that may wait to be read, within the stack's bounds.
func (s *socket) SetReadBuffer(bytes int) error {
	return s.set(func() tcpip.Error {
		s.ep.SocketOptions().SetReceiveBufferSize(int64(bytes), true)
		return nil
	})
}

// SetWriteBuffer sets the bytes that may wait to be sent, within the stack's bounds.
func (s *socket) SetWriteBuffer(bytes int) error {
	return s.set(func() tcpip.Error {
		s.ep.SocketOptions().SetSendBufferSize(int64(bytes), true)
		return nil
	})
}

// local is the socket's own address as package net has it: nil if it has none.
func (s *socket) local() net.Addr {
	a, err := s.ep.GetLocalAddress()
	if err != nil {
		return nil
	}
	return s.netAddr(a)
}

func (s *socket) remote() net.Addr {
	a, err := s.ep.GetRemoteAddress()
	if err != nil {
		return nil
	}
	return s.netAddr(a)
}

func (s *socket) netAddr(a tcpip.FullAddress) net.Addr {
	at := addrPort(a)
	if s.network == "udp" {
		return net.UDPAddrFromAddrPort(at)
	}
	return net.TCPAddrFromAddrPort(at)
}

// addrPort names the unspecified address, as package net does.
func addrPort(a tcpip.FullAddress) netip.AddrPort {
	ip, ok := netip.AddrFromSlice(a.Addr.AsSlice())
	if !ok {
		ip = netip.IPv6Unspecified()
	}
	return netip.AddrPortFrom(ip, a.Port)
}
