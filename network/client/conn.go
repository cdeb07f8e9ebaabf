package client

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
)

// errnos are the errors of the stack for which package net has a syscall error.
// The adapter keeps only their texts.
var errnos = map[string]error{
	(&tcpip.ErrConnectionRefused{}).String():   syscall.ECONNREFUSED,
	(&tcpip.ErrConnectionReset{}).String():     syscall.ECONNRESET,
	(&tcpip.ErrConnectionAborted{}).String():   syscall.ECONNABORTED,
	(&tcpip.ErrTimeout{}).String():             syscall.ETIMEDOUT,
	(&tcpip.ErrHostUnreachable{}).String():     syscall.EHOSTUNREACH,
	(&tcpip.ErrHostDown{}).String():            syscall.EHOSTDOWN,
	(&tcpip.ErrNetworkUnreachable{}).String():  syscall.ENETUNREACH,
	(&tcpip.ErrPortInUse{}).String():           syscall.EADDRINUSE,
	(&tcpip.ErrNoPortAvailable{}).String():     syscall.EADDRNOTAVAIL,
	(&tcpip.ErrBadLocalAddress{}).String():     syscall.EADDRNOTAVAIL,
	(&tcpip.ErrClosedForSend{}).String():       syscall.EPIPE,
	(&tcpip.ErrMessageTooLong{}).String():      syscall.EMSGSIZE,
	(&tcpip.ErrNoBufferSpace{}).String():       syscall.ENOBUFS,
	(&tcpip.ErrBroadcastDisabled{}).String():   syscall.EACCES,
	(&tcpip.ErrDestinationRequired{}).String(): syscall.EDESTADDRREQ,
}

// translate gives an error of the adapter the identity it has in package net.
func translate(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	var op *net.OpError
	if errors.As(err, &op) {
		changed := *op
		changed.Err = translate(op.Err)
		return &changed
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() && !errors.Is(err, os.ErrDeadlineExceeded) {
		if _, ours := err.(interface{ Unwrap() error }); !ours {
			return os.ErrDeadlineExceeded
		}
	}
	if errno, ok := errnos[err.Error()]; ok {
		return errno
	}
	return err
}

// closing makes the operations of a closed connection fail with net.ErrClosed.
type closing struct{ closed atomic.Bool }

func (c *closing) translate(op, network string, local net.Addr, err error) error {
	if err != nil && c.closed.Load() {
		return &net.OpError{Op: op, Net: network, Source: local, Err: net.ErrClosed}
	}
	return translate(err)
}

// conn is a TCP connection; besides net.Conn it has CloseRead and CloseWrite.
type conn struct {
	*gonet.TCPConn
	closing
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	if err != nil {
		err = c.translate("read", "tcp", c.LocalAddr(), err)
	}
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	if err != nil {
		err = c.translate("write", "tcp", c.LocalAddr(), err)
	}
	return n, err
}

func (c *conn) Close() error {
	if c.closed.Swap(true) {
		return &net.OpError{Op: "close", Net: "tcp", Source: c.LocalAddr(), Err: net.ErrClosed}
	}
	return c.TCPConn.Close()
}

// listener accepts TCP connections.
type listener struct {
	*gonet.TCPListener
	closing
}

// Addr names the unspecified address, as package net does.
func (l *listener) Addr() net.Addr {
	a := l.TCPListener.Addr().(*net.TCPAddr)
	if len(a.IP) == 0 {
		a.IP = net.IPv6unspecified
	}
	return a
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.TCPListener.Accept()
	if err != nil {
		return nil, l.translate("accept", "tcp", l.Addr(), err)
	}
	return &conn{TCPConn: c.(*gonet.TCPConn)}, nil
}

func (l *listener) Close() error {
	if l.closed.Swap(true) {
		return &net.OpError{Op: "close", Net: "tcp", Source: l.Addr(), Err: net.ErrClosed}
	}
	l.TCPListener.Shutdown()
	return l.TCPListener.Close()
}

// packetConn sends and receives UDP datagrams.
type packetConn struct {
	*gonet.UDPConn
	closing
}

// LocalAddr names the unspecified address, as package net does.
func (c *packetConn) LocalAddr() net.Addr {
	a := c.UDPConn.LocalAddr().(*net.UDPAddr)
	if len(a.IP) == 0 {
		a.IP = net.IPv6unspecified
	}
	return a
}

func (c *packetConn) Read(b []byte) (int, error) {
	n, _, err := c.ReadFrom(b)
	return n, err
}

func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.UDPConn.ReadFrom(b)
	if err == io.EOF { // the adapter's word for a closed socket
		err = net.ErrClosed
	}
	return n, from, c.translate("read", "udp", c.LocalAddr(), err)
}

func (c *packetConn) Write(b []byte) (int, error) {
	n, err := c.UDPConn.Write(b)
	return n, c.translate("write", "udp", c.LocalAddr(), err)
}

func (c *packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	udp, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, &net.OpError{Op: "write", Net: "udp", Source: c.LocalAddr(), Addr: to, Err: syscall.EINVAL}
	}
	n, err := c.UDPConn.WriteTo(b, udp)
	return n, c.translate("write", "udp", c.LocalAddr(), err)
}

func (c *packetConn) Close() error {
	if c.closed.Swap(true) {
		return &net.OpError{Op: "close", Net: "udp", Source: c.LocalAddr(), Err: net.ErrClosed}
	}
	return c.UDPConn.Close()
}
