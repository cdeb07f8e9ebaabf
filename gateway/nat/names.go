package nat

import (
	"net"
	"net/netip"
)

// asksNames tells whether what a guest sends there is a question to the gateway itself.
func (g *Gateway) asksNames(to netip.AddrPort) bool {
	return g.names != nil && to.Port() == dnsPort && g.own[to.Addr().Unmap()]
}

// answerStream answers the questions of a connection.
func (g *Gateway) answerStream(accept func() (net.Conn, error)) {
	done := make(chan struct{}) // the guest has its answer
	entered := g.enter(&g.connections, connectionsMax, func() {
		guest, err := accept()
		close(done)
		if err != nil {
			return
		}
		defer g.drop(guest)
		if g.hold(guest) {
			g.counters.connections.Add(1)
			g.names.ServeStream(g.ctx, guest, dnsIdle)
		}
	})
	if entered {
		<-done
	}
}

// answerDatagrams answers the questions of one end of UDP.
func (g *Gateway) answerDatagrams(take func() (net.Conn, error)) bool {
	guest, err := take()
	if err != nil {
		g.counters.failed.Add(1)
		return false
	}
	entered := g.enter(&g.pairs, pairsMax, func() {
		defer g.drop(guest)
		if g.hold(guest) {
			g.counters.pairs.Add(1)
			g.names.ServeDatagrams(g.ctx, guest, dnsIdle)
		}
	})
	if !entered {
		guest.Close()
	}
	return entered
}
