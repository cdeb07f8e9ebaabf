package nat

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/quintet-os/quintet/network/client"
)

// Publish is a port of the host that leads to a guest.
type Publish struct {
	Network string // "tcp" or "udp"
	Listen  netip.AddrPort
	// To is the guest: an address or a name that Config.Names knows, and a port.
	To string
	// Proxy begins each connection of TCP with a header of the PROXY protocol that names
	// its source: the guest sees it come from the gateway.
	Proxy bool
	// Listener and Socket, if set, are used instead of opening Listen: a supervisor
	// that keeps them lets no connection be refused while the gateway is replaced.
	Listener net.Listener
	Socket   net.PacketConn
}

func (p Publish) String() string { return fmt.Sprintf("%v:%s/%s", p.Listen, p.To, p.Network) }

// publish starts to listen.
func (g *Gateway) publish(p Publish) error {
	switch {
	case p.Network == "tcp" && p.Listener == nil:
		var err error
		if p.Listener, err = net.Listen("tcp", p.Listen.String()); err != nil {
			return err
		}
	case p.Network == "udp" && p.Socket == nil:
		var err error
		if p.Socket, err = net.ListenPacket("udp", p.Listen.String()); err != nil {
			return err
		}
	case p.Network != "tcp" && p.Network != "udp":
		return fmt.Errorf("network %q; tcp and udp are possible", p.Network)
	}
	// Before New has returned, nobody closes the gateway.
	if p.Network == "tcp" {
		context.AfterFunc(g.ctx, func() { _ = p.Listener.Close() })
		g.start(func() { g.accept(p) })
	} else {
		context.AfterFunc(g.ctx, func() { _ = p.Socket.Close() })
		g.start(func() { g.gather(p) })
	}
	return nil
}

// owner pays for what comes in.
func (p Publish) owner() owner {
	host, _, err := net.SplitHostPort(p.To)
	if err != nil {
		return owner(p.To)
	}
	return owner(host)
}

// accept carries connections of the world to a guest.
func (g *Gateway) accept(p Publish) {
	for {
		outside, err := p.Listener.Accept()
		if err != nil {
			if temporary(err) && g.ctx.Err() == nil {
				// Descriptors have run out; connections that end will make room.
				time.Sleep(acceptPause)
				continue
			}
			return
		}
		g.receive(p, outside)
	}
}

// receive carries one connection of the world to a guest. The host has accepted it
// already: what the guest refuses is reset.
func (g *Gateway) receive(p Publish, outside net.Conn) {
	resetAtDeath(outside)
	entered := g.enter(g.connections, p.owner(), func(ctx context.Context) {
		opening, cancel := context.WithTimeout(ctx, dialMax)
		defer cancel()
		inside, err := g.stack.DialContext(opening, "tcp", p.To)
		if err != nil {
			g.counters.failed.Add(1)
			reset(outside)
			return
		}
		if p.Proxy {
			if _, err := inside.Write(proxyHeader(outside.RemoteAddr(), outside.LocalAddr())); err != nil {
				g.counters.failed.Add(1)
				reset(inside)
				reset(outside)
				return
			}
		}
		g.join(ctx, inside.(*client.TCPConn), outside)
	})
	if !entered {
		reset(outside)
	}
}

// acceptPause is how long accept waits when the process has no descriptor left.
const acceptPause = 50 * time.Millisecond

func temporary(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ECONNABORTED)
}

// gather carries datagrams of the world to a guest, over a connection of the stack for
// each sender.
func (g *Gateway) gather(p Publish) {
	var mu sync.Mutex // guards senders; a leaf
	senders := make(map[string]*sender)
	for buffer := make([]byte, datagramMax); ; {
		n, from, err := p.Socket.ReadFrom(buffer)
		if err != nil {
			return
		}
		mu.Lock()
		s := senders[from.String()]
		mu.Unlock()
		if s == nil {
			inside, err := g.stack.DialContext(g.ctx, "udp", p.To)
			if err != nil {
				g.counters.failed.Add(1)
				continue
			}
			s = &sender{inside: inside}
			mu.Lock()
			senders[from.String()] = s
			mu.Unlock()
			entered := g.enter(g.pairs, p.owner(), func(ctx context.Context) {
				s.answer(ctx, p.Socket, from)
				mu.Lock()
				delete(senders, from.String())
				mu.Unlock()
			})
			if !entered {
				inside.Close()
				mu.Lock()
				delete(senders, from.String())
				mu.Unlock()
				continue
			}
			g.counters.pairs.Add(1)
		}
		s.last.Store(time.Now().UnixNano())
		if _, err := s.inside.Write(buffer[:n]); err != nil {
			g.counters.failed.Add(1)
		}
	}
}

// sender is somebody in the world who speaks to a published port of UDP.
type sender struct {
	inside net.Conn
	last   atomic.Int64 // when a datagram went either way, ns
}

// answer carries a guest's datagrams back until none has gone either way for udpIdle.
func (s *sender) answer(ctx context.Context, socket net.PacketConn, to net.Addr) {
	defer s.inside.Close()
	defer closeWith(ctx, s.inside)()
	for buffer := make([]byte, datagramMax); ; {
		s.inside.SetReadDeadline(time.Unix(0, s.last.Load()).Add(udpIdle))
		n, err := s.inside.Read(buffer)
		if err != nil {
			if timeout, ok := err.(net.Error); ok && timeout.Timeout() && time.Since(time.Unix(0, s.last.Load())) < udpIdle {
				continue
			}
			return
		}
		s.last.Store(time.Now().UnixNano())
		if _, err := socket.WriteTo(buffer[:n], to); err != nil {
			return
		}
	}
}
