package nat

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"github.com/quintet-os/quintet/network/client"
)

// connection carries a connection that a guest opens, when there is an answer from
// outside: the guest sees what became of it, refused, unreachable, or no answer.
func (g *Gateway) connection(o *client.Opening) {
	if !g.start(func() { g.open(o) }) {
		o.Fail(errLate)
	}
}

var errLate = errors.New("the gateway is being closed")

func (g *Gateway) open(o *client.Opening) {
	if g.asksNames(o.To) {
		g.answerStream(o)
		return
	}
	target, ok := g.target(o.To)
	if !ok {
		g.counters.refused.Add(1)
		o.Fail(syscall.ECONNREFUSED)
		return
	}
	outside, err := g.dial(o.Context(), "tcp", target)
	if err != nil {
		o.Fail(err)
		return
	}
	inside, err := o.Accept()
	if err != nil {
		reset(outside)
		return
	}
	if !g.enter(g.connections, ownerOf(o.From.Addr()), func(ctx context.Context) { g.join(ctx, inside, outside) }) {
		reset(inside)
		reset(outside)
	}
}

// dial connects to the world, and ends with the gateway or ctx.
func (g *Gateway) dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialMax)
	defer cancel()
	defer context.AfterFunc(g.ctx, cancel)()
	c, err := g.cfg.Dial(ctx, network, to.String())
	if err != nil {
		g.counters.failed.Add(1)
		return nil, err
	}
	if network == "tcp" {
		resetAtDeath(c)
	}
	return c, nil
}

// join carries bytes between two connections until both ways have ended. When ctx ends,
// both are reset.
func (g *Gateway) join(ctx context.Context, inside *client.TCPConn, outside net.Conn) {
	g.counters.connections.Add(1)
	size := g.limits.buffer(g.connections.Taken())
	_ = inside.SetReadBuffer(size) // a connection that has ended needs none
	_ = inside.SetWriteBuffer(size)
	stop := context.AfterFunc(ctx, func() {
		reset(inside)
		reset(outside)
	})
	var ways sync.WaitGroup
	ways.Go(func() { pass(inside, outside) })
	ways.Go(func() { pass(outside, inside) })
	ways.Wait()
	if stop() { // both have ended well, or are reset already
		_ = linger(outside, -1)
		_ = outside.Close()
		_ = inside.Close()
	}
}

// pass copies what comes from one connection to the other, and its end. If either
// breaks, both are reset: whoever is at the other end must not take it for the end of
// the data.
func pass(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		err = half.CloseWrite()
	}
	if err != nil {
		reset(to)
		reset(from)
	}
}

// resetAtDeath has the kernel reset a connection that is still open when the process
// ends: a gateway that dies has not passed on all there was.
func resetAtDeath(c net.Conn) { _ = linger(c, 0) }

// reset closes a connection with a reset.
func reset(c net.Conn) {
	_ = linger(c, 0)
	_ = c.Close()
}

func linger(c net.Conn, seconds int) error {
	if l, ok := c.(interface{ SetLinger(seconds int) error }); ok {
		return l.SetLinger(seconds)
	}
	return nil
}
