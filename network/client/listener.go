package client

import (
	"net"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// backlogMax bounds the connections that wait to be accepted: Linux's default.
const backlogMax = 4096

// TCPListener accepts connections, with the methods of *net.TCPListener but for those
// of docs/net.md.
type TCPListener struct {
	socket
	keepAlive net.KeepAliveConfig
}

func (s *Stack) listenTCP(at tcpip.FullAddress, protocol tcpip.NetworkProtocolNumber, k net.KeepAliveConfig) (*TCPListener, error) {
	ep, queue, err := s.endpoint(tcp.ProtocolNumber, protocol)
	if err != nil {
		return nil, err
	}
	failed := ep.Bind(at)
	if failed == nil {
		failed = ep.Listen(backlogMax)
	}
	if failed != nil {
		ep.Close()
		return nil, errno(failed)
	}
	l := &TCPListener{socket: newSocket(s, "tcp", ep, queue), keepAlive: k}
	s.enter(&l.socket, l)
	return l, nil
}

// Addr is that of net.Listener.
func (l *TCPListener) Addr() net.Addr { return l.local() }

// Accept is that of net.Listener; connections are *TCPConn.
func (l *TCPListener) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// AcceptTCP is that of *net.TCPListener.
func (l *TCPListener) AcceptTCP() (*TCPConn, error) {
	var ep tcpip.Endpoint
	var queue *waiter.Queue
	err := l.await(waiter.ReadableEvents, &l.readBy, func() (err tcpip.Error) {
		ep, queue, err = l.ep.Accept(nil)
		return err
	})
	if err != nil {
		return nil, l.opError("accept", nil, err)
	}
	return newTCPConn(l.stack, ep, queue, l.keepAlive), nil
}

// SetDeadline is that of *net.TCPListener.
func (l *TCPListener) SetDeadline(t time.Time) error { return l.SetReadDeadline(t) }

// Close is that of net.Listener. Connections that nobody has accepted are reset.
func (l *TCPListener) Close() error {
	if !l.end() {
		return l.errClosed()
	}
	l.ep.Shutdown(tcpip.ShutdownWrite | tcpip.ShutdownRead)
	l.ep.Close()
	return nil
}
