package nat

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
)

// connection carries a connection that a guest opens.
func (g *Gateway) connection(from, to netip.AddrPort, accept func() (net.Conn, error)) {
	if g.asksNames(to) {
		g.answerStream(accept)
		return
	}
	target, ok := g.target(to)
	if !ok {
		g.counters.refused.Add(1)
		return
	}
	done := make(chan struct{}) // the guest has its answer
	entered := g.enter(&g.connections, connectionsMax, func() {
		outside, err := g.dial("tcp", target)
		if err != nil {
			close(done)
			return
		}
		inside, err := accept()
		close(done)
		if err != nil {
			outside.Close()
			return
		}
		g.counters.connections.Add(1)
		g.join(inside, outside)
	})
	if entered {
		<-done
	}
}

func (g *Gateway) dial(network string, to netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(g.ctx, dialMax)
	defer cancel()
	c, err := g.cfg.Dial(ctx, network, to.String())
	if err != nil {
		g.counters.failed.Add(1)
	}
	return c, err
}

// join carries bytes between two connections until both ways have ended.
func (g *Gateway) join(a, b net.Conn) {
	defer g.drop(a)
	defer g.drop(b)
	if !g.hold(a) || !g.hold(b) {
		return
	}
	var ways sync.WaitGroup
	ways.Go(func() { carry(a, b) })
	ways.Go(func() { carry(b, a) })
	ways.Wait()
}

// carry copies what comes from one connection to the other, and its end. If either
// breaks, so does the other.
func carry(to, from net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		from.Close()
		return
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		return
	}
	to.Close()
}
