package client

import (
	"bytes"
	"net"
	"net/netip"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// UDPConn sends and receives datagrams, with the methods of *net.UDPConn but for those
// of docs/net.md.
type UDPConn struct {
	socket
	connected bool
}

// newUDPConn makes an endpoint a socket.
func newUDPConn(s *Stack, ep tcpip.Endpoint, queue *waiter.Queue, connected bool) *UDPConn {
	c := &UDPConn{socket: newSocket(s, "udp", ep, queue), connected: connected}
	s.enter(&c.socket, c)
	return c
}

// openUDP binds a socket to local, and connects it to remote, where they are there.
func (s *Stack) openUDP(local, remote *tcpip.FullAddress, protocol tcpip.NetworkProtocolNumber) (*UDPConn, error) {
	ep, queue, err := s.endpoint(udp.ProtocolNumber, protocol)
	if err != nil {
		return nil, err
	}
	var failed tcpip.Error
	if local != nil {
		failed = ep.Bind(*local)
	}
	if failed == nil && remote != nil {
		failed = ep.Connect(*remote)
	}
	if failed != nil {
		ep.Close()
		return nil, errno(failed)
	}
	return newUDPConn(s, ep, queue, remote != nil), nil
}

// LocalAddr is that of net.Conn.
func (c *UDPConn) LocalAddr() net.Addr { return c.local() }

// RemoteAddr is that of net.Conn; nil if the socket is not connected.
func (c *UDPConn) RemoteAddr() net.Addr {
	if !c.connected {
		return nil
	}
	return c.remote()
}

// receive takes one datagram. An error that an ICMP message has brought for a
// connected socket, such as syscall.ECONNREFUSED, ends a blocked call too.
func (c *UDPConn) receive(b []byte) (n, whole int, from netip.AddrPort, err error) {
	err = c.await(waiter.ReadableEvents, &c.readBy, func() tcpip.Error {
		w := tcpip.SliceWriter(b)
		result, err := c.ep.Read(&w, tcpip.ReadOptions{NeedRemoteAddr: true})
		if _, none := err.(*tcpip.ErrBadBuffer); none {
			err = nil // a datagram with no room for any of its bytes
		}
		n, whole, from = result.Count, result.Total, addrPort(result.RemoteAddr)
		return err
	})
	if err != nil {
		err = c.opError("read", c.RemoteAddr(), err)
	}
	return n, whole, from, err
}

func (c *UDPConn) send(b []byte, to *netip.AddrPort) (int, error) {
	var options tcpip.WriteOptions
	var remote net.Addr
	if to != nil {
		at := netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
		remote = net.UDPAddrFromAddrPort(at)
		if c.connected {
			return 0, c.opError("write", remote, net.ErrWriteToConnected)
		}
		full, _ := fullAddress(at)
		options.To = &full
	}
	if isClosed(c.stack.link.ended) && !c.ended.Load() {
		return 0, c.opError("write", remote, c.stack.gone())
	}
	err := c.await(waiter.WritableEvents, &c.writeBy, func() tcpip.Error {
		_, err := c.ep.Write(bytes.NewReader(b), options)
		return err
	})
	if err != nil {
		return 0, c.opError("write", remote, err)
	}
	return len(b), nil
}

// Read is that of net.Conn.
func (c *UDPConn) Read(b []byte) (int, error) {
	n, _, _, err := c.receive(b)
	return n, err
}

// ReadFrom is that of net.PacketConn.
func (c *UDPConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.ReadFromUDP(b)
	if err != nil {
		return n, nil, err
	}
	return n, from, nil
}

// ReadFromUDP is that of *net.UDPConn.
func (c *UDPConn) ReadFromUDP(b []byte) (int, *net.UDPAddr, error) {
	n, from, err := c.ReadFromUDPAddrPort(b)
	if err != nil {
		return n, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// ReadFromUDPAddrPort is that of *net.UDPConn.
func (c *UDPConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	n, _, from, err := c.receive(b)
	return n, from, err
}

// ReadMsgUDP is that of *net.UDPConn; there is never anything out of band.
func (c *UDPConn) ReadMsgUDP(b, _ []byte) (n, oobn, flags int, from *net.UDPAddr, err error) {
	n, oobn, flags, at, err := c.ReadMsgUDPAddrPort(b, nil)
	if err == nil {
		from = net.UDPAddrFromAddrPort(at)
	}
	return n, oobn, flags, from, err
}

// ReadMsgUDPAddrPort is that of *net.UDPConn; there is never anything out of band.
func (c *UDPConn) ReadMsgUDPAddrPort(b, _ []byte) (n, oobn, flags int, from netip.AddrPort, err error) {
	n, whole, from, err := c.receive(b)
	if whole > n {
		flags = syscall.MSG_TRUNC
	}
	return n, 0, flags, from, err
}

// Write is that of net.Conn.
func (c *UDPConn) Write(b []byte) (int, error) { return c.send(b, nil) }

// WriteTo is that of net.PacketConn; to must be a *net.UDPAddr.
func (c *UDPConn) WriteTo(b []byte, to net.Addr) (int, error) {
	at, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, c.opError("write", to, syscall.EINVAL)
	}
	return c.WriteToUDP(b, at)
}

// WriteToUDP is that of *net.UDPConn.
func (c *UDPConn) WriteToUDP(b []byte, to *net.UDPAddr) (int, error) {
	if to == nil {
		return 0, c.opError("write", nil, syscall.EDESTADDRREQ)
	}
	return c.WriteToUDPAddrPort(b, to.AddrPort())
}

// WriteToUDPAddrPort is that of *net.UDPConn.
func (c *UDPConn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	if !to.IsValid() {
		return 0, c.opError("write", nil, syscall.EINVAL)
	}
	return c.send(b, &to)
}

// WriteMsgUDP is that of *net.UDPConn; out-of-band data is refused.
func (c *UDPConn) WriteMsgUDP(b, oob []byte, to *net.UDPAddr) (n, oobn int, err error) {
	if len(oob) > 0 {
		return 0, 0, c.opError("write", to, ErrNotSupported)
	}
	if to == nil {
		n, err = c.Write(b)
	} else {
		n, err = c.WriteToUDP(b, to)
	}
	return n, 0, err
}

// WriteMsgUDPAddrPort is that of *net.UDPConn; out-of-band data is refused.
func (c *UDPConn) WriteMsgUDPAddrPort(b, oob []byte, to netip.AddrPort) (n, oobn int, err error) {
	if len(oob) > 0 {
		return 0, 0, c.opError("write", nil, ErrNotSupported)
	}
	if to.IsValid() {
		n, err = c.WriteToUDPAddrPort(b, to)
	} else {
		n, err = c.Write(b)
	}
	return n, 0, err
}

// Close is that of net.Conn.
func (c *UDPConn) Close() error {
	if !c.end() {
		return c.errClosed()
	}
	c.ep.Close()
	return nil
}
