package nat

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/quintet-os/quintet/network/client"
)

// datagramMax is the largest payload of UDP.
const datagramMax = 65535

// pair carries the datagrams between a guest and somebody in the world.
func (g *Gateway) pair(from, to netip.AddrPort, take func() (*client.UDPConn, error)) bool {
	if g.asksNames(to) {
		return g.answerDatagrams(from, take)
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
	entered := g.enter(g.pairs, ownerOf(from.Addr()), func(ctx context.Context) {
		outside, err := g.dial(ctx, "udp", target)
		if err == nil {
			g.counters.pairs.Add(1)
			err = exchange(ctx, inside, outside, idle)
		} else {
			_ = inside.Close()
		}
		g.stack.FailDatagram(from, to, err)
	})
	if !entered {
		_ = inside.Close()
	}
	return entered
}

// exchange carries datagrams between a guest and the world until none has come for idle,
// or ctx ends, and closes both. It returns the error of the world's end, if it has one.
func exchange(ctx context.Context, inside, outside net.Conn, idle time.Duration) error {
	defer closeWith(ctx, inside)()
	defer closeWith(ctx, outside)()
	var last atomic.Int64 // when a datagram came, of either way
	start := time.Now()
	carry := func(to, from net.Conn) error {
		defer to.Close()
		defer from.Close()
		for buffer := make([]byte, datagramMax); ; {
			from.SetReadDeadline(start.Add(time.Duration(last.Load()) + idle))
			n, err := from.Read(buffer)
			if err != nil {
				if timeout, ok := err.(net.Error); ok && timeout.Timeout() && time.Since(start)-time.Duration(last.Load()) < idle {
					continue // the other way was busy
				}
				return ofWorld(from == outside, err)
			}
			last.Store(int64(time.Since(start)))
			if _, err := to.Write(buffer[:n]); err != nil {
				return ofWorld(to == outside, err)
			}
		}
	}
	back := make(chan error, 1)
	go func() { back <- carry(inside, outside) }()
	there := carry(outside, inside)
	return cmp.Or(<-back, there)
}

// ofWorld is err if it is the world's.
func ofWorld(is bool, err error) error {
	if is {
		return err
	}
	return nil
}
