package nat

import (
	"context"
	"net"
	"net/netip"

	"github.com/quintet-os/quintet/network/client"
)

// asksNames tells whether what a guest sends there is a question to the gateway itself.
func (g *Gateway) asksNames(to netip.AddrPort) bool {
	return g.names != nil && to.Port() == dnsPort && g.own[to.Addr().Unmap()]
}

// answerStream answers the questions of a connection.
func (g *Gateway) answerStream(o *client.Opening) {
	guest, err := o.Accept()
	if err != nil {
		return
	}
	if !g.enter(g.connections, ownerOf(o.From.Addr()), func(ctx context.Context) {
		g.counters.connections.Add(1)
		defer context.AfterFunc(ctx, func() { reset(guest) })()
		g.names.ServeStream(ctx, guest, dnsIdle)
		_ = guest.Close() // it may be reset already
	}) {
		reset(guest)
	}
}

// answerDatagrams answers the questions of one end of UDP.
func (g *Gateway) answerDatagrams(from netip.AddrPort, take func() (*client.UDPConn, error)) bool {
	guest, err := take()
	if err != nil {
		g.counters.failed.Add(1)
		return false
	}
	entered := g.enter(g.pairs, ownerOf(from.Addr()), func(ctx context.Context) {
		defer guest.Close()
		g.counters.pairs.Add(1)
		defer closeWith(ctx, guest)()
		g.names.ServeDatagrams(ctx, guest, dnsIdle)
	})
	if !entered {
		_ = guest.Close()
	}
	return entered
}

// closeWith closes a socket when ctx ends, unless the function that it returns is called
// before.
func closeWith(ctx context.Context, c net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = c.Close() })
}
