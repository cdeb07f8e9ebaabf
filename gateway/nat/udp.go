package nat

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// datagramMax is the largest payload of UDP.
const datagramMax = 65535

// pair carries the datagrams between a guest and somebody in the world.
func (g *Gateway) pair(from, to netip.AddrPort, take func() (net.Conn, error)) bool {
	if g.asksNames(to) {
		return g.answerDatagrams(take)
	}
	target, ok := g.target(to)
	if !ok {
		g.counters.refused.Add(1)
		return false
	}
	inside, err := take()
	if err != nil {
		g.counters.failed.Add(1)
		return false
	}
	idle := udpIdle
	if target.Port() == dnsPort {
		idle = dnsIdle
	}
	entered := g.enter(&g.pairs, pairsMax, func() {
		outside, err := g.dial("udp", target)
		if err != nil {
			inside.Close()
			return
		}
		g.counters.pairs.Add(1)
		g.exchange(inside, outside, idle)
	})
	if !entered {
		inside.Close()
	}
	return entered
}

// exchange carries datagrams between two connections until none has come for idle.
func (g *Gateway) exchange(a, b net.Conn, idle time.Duration) {
	defer g.drop(a)
	defer g.drop(b)
	if !g.hold(a) || !g.hold(b) {
		return
	}
	var last atomic.Int64 // when a datagram came, of either way
	start := time.Now()
	carry := func(to, from net.Conn) {
		defer to.Close()
		defer from.Close()
		for buffer := make([]byte, datagramMax); ; {
			from.SetReadDeadline(start.Add(time.Duration(last.Load()) + idle))
			n, err := from.Read(buffer)
			if err != nil {
				if timeout, ok := err.(net.Error); ok && timeout.Timeout() && time.Since(start)-time.Duration(last.Load()) < idle {
					continue // the other way was busy
				}
				return
			}
			last.Store(int64(time.Since(start)))
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
	}
	var ways sync.WaitGroup
	ways.Go(func() { carry(a, b) })
	ways.Go(func() { carry(b, a) })
	ways.Wait()
}
