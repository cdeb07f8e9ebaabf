package client

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// TCPConn is a connection with the methods of *net.TCPConn but for those of
// docs/net.md.
type TCPConn struct {
	socket
	lingerSeconds atomic.Int64 // of SetLinger

	writing sync.Mutex // keeps the bytes of one Write together
}

// newTCPConn makes an endpoint a connection, with keep-alive as k says.
func newTCPConn(s *Stack, ep tcpip.Endpoint, queue *waiter.Queue, k net.KeepAliveConfig) *TCPConn {
	c := &TCPConn{socket: newSocket(s, "tcp", ep, queue)}
	c.lingerSeconds.Store(-1)
	// The options of a connection that has ended already do not matter.
	_ = c.SetKeepAliveConfig(k)
	s.enter(&c.socket, c)
	return c
}

// LocalAddr is that of net.Conn.
func (c *TCPConn) LocalAddr() net.Addr { return c.local() }

// RemoteAddr is that of net.Conn.
func (c *TCPConn) RemoteAddr() net.Addr { return c.remote() }

// Read is that of net.Conn.
func (c *TCPConn) Read(b []byte) (n int, err error) {
	if len(b) == 0 && !c.ended.Load() {
		return 0, nil
	}
	err = c.await(waiter.ReadableEvents, &c.readBy, func() tcpip.Error {
		w := tcpip.SliceWriter(b)
		result, err := c.ep.Read(&w, tcpip.ReadOptions{})
		n = result.Count
		return err
	})
	if n > 0 {
		c.ep.ModerateRecvBuf(n)
	}
	if err != nil && err != io.EOF {
		err = c.opError("read", c.remote(), err)
	}
	return n, err
}

// Write is that of net.Conn. What it has accepted is sent after Close too; see
// Stack.Shutdown for the end of the program.
func (c *TCPConn) Write(b []byte) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if isClosed(c.stack.link.ended) && !c.ended.Load() {
		return 0, c.opError("write", c.remote(), c.stack.gone())
	}
	err = c.await(waiter.WritableEvents, &c.writeBy, func() tcpip.Error {
		for n < len(b) {
			accepted, err := c.ep.Write(bytes.NewReader(b[n:]), tcpip.WriteOptions{})
			n += int(accepted)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		err = c.opError("write", c.remote(), err)
	}
	return n, err
}

// Close is that of net.Conn: the stack goes on sending what was written, in the
// background, for orphanMax at most without an answer. See SetLinger.
func (c *TCPConn) Close() error {
	if !c.end() {
		return c.errClosed()
	}
	bound := tcpip.TCPUserTimeoutOption(orphanMax)
	_ = c.ep.SetSockOpt(&bound) // a connection that has ended needs no bound
	seconds := c.lingerSeconds.Load()
	c.ep.Close()
	if seconds > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(seconds)*time.Second)
		defer cancel()
		_ = c.stack.settle(ctx, func() bool { return delivered(c.ep) }) // after that, as Linux: in the background
	}
	return nil
}

// CloseRead is that of *net.TCPConn.
func (c *TCPConn) CloseRead() error { return c.shutdown(tcpip.ShutdownRead) }

// CloseWrite is that of *net.TCPConn.
func (c *TCPConn) CloseWrite() error { return c.shutdown(tcpip.ShutdownWrite) }

func (c *TCPConn) shutdown(how tcpip.ShutdownFlags) error {
	if c.ended.Load() {
		return c.errClosed()
	}
	if err := c.ep.Shutdown(how); err != nil {
		return c.opError("close", c.remote(), errno(err))
	}
	return nil
}

// SetLinger is that of *net.TCPConn, as on Linux: with less than 0, Close returns at
// once and the rest goes in the background, which is the default; with 0, Close resets
// the connection; with more, Close waits so many seconds for the rest.
func (c *TCPConn) SetLinger(seconds int) error {
	return c.set(func() tcpip.Error {
		c.lingerSeconds.Store(int64(seconds))
		c.ep.SocketOptions().SetLinger(tcpip.LingerOption{Enabled: seconds == 0})
		return nil
	})
}

// SetNoDelay is that of *net.TCPConn; true is the default.
func (c *TCPConn) SetNoDelay(on bool) error {
	return c.set(func() tcpip.Error {
		c.ep.SocketOptions().SetDelayOption(!on)
		return nil
	})
}

// SetKeepAlive is that of *net.TCPConn. Keep-alive is on by default, as in package
// net: the peer is asked after 15 s of silence and then each 15 s, and given up after
// the ninth question without an answer.
func (c *TCPConn) SetKeepAlive(on bool) error {
	return c.set(func() tcpip.Error {
		c.ep.SocketOptions().SetKeepAlive(on)
		return nil
	})
}

// SetKeepAlivePeriod is that of *net.TCPConn.
func (c *TCPConn) SetKeepAlivePeriod(d time.Duration) error {
	idle := tcpip.KeepaliveIdleOption(d)
	return c.set(func() tcpip.Error { return c.ep.SetSockOpt(&idle) })
}

// Of keep-alive, where a net.KeepAliveConfig says nothing: those of package net.
const (
	keepAliveIdle     = 15 * time.Second
	keepAliveInterval = 15 * time.Second
	keepAliveCount    = 9
)

// SetKeepAliveConfig is that of *net.TCPConn.
func (c *TCPConn) SetKeepAliveConfig(k net.KeepAliveConfig) error {
	if err := c.SetKeepAlive(k.Enable); err != nil {
		return err
	}
	if k.Idle == 0 {
		k.Idle = keepAliveIdle
	}
	if k.Interval == 0 {
		k.Interval = keepAliveInterval
	}
	if k.Count == 0 {
		k.Count = keepAliveCount
	}
	return c.set(func() tcpip.Error {
		idle, interval := tcpip.KeepaliveIdleOption(k.Idle), tcpip.KeepaliveIntervalOption(k.Interval)
		if k.Idle > 0 { // less leaves as it is what was there
			if err := c.ep.SetSockOpt(&idle); err != nil {
				return err
			}
		}
		if k.Interval > 0 {
			if err := c.ep.SetSockOpt(&interval); err != nil {
				return err
			}
		}
		if k.Count > 0 {
			return c.ep.SetSockOptInt(tcpip.KeepaliveCountOption, k.Count)
		}
		return nil
	})
}

// MultipathTCP is that of *net.TCPConn: this stack does not speak it.
func (c *TCPConn) MultipathTCP() (bool, error) { return false, nil }

// delivered tells whether the peer of a closed endpoint has acknowledged all that was
// written, or never will.
func delivered(ep interface{ State() uint32 }) bool {
	switch tcp.EndpointState(ep.State()) {
	case tcp.StateEstablished, tcp.StateSynSent, tcp.StateSynRecv, tcp.StateFinWait1, tcp.StateCloseWait, tcp.StateClosing, tcp.StateLastAck:
		return false
	}
	return true
}
