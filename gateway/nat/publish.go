package nat

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Publish is a port of the host that leads to a guest.
type Publish struct {
	Network string // "tcp" or "udp"
	Listen  netip.AddrPort
	// To is the guest: an address or a name that Config.Names knows, and a port.
	To string
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
	if p.Network == "tcp" {
		g.hold(p.Listener)
		g.tasks.Go(func() { g.accept(p) })
	} else {
		g.hold(p.Socket)
		g.tasks.Go(func() { g.gather(p) })
	}
	return nil
}

// accept carries connections of the world to a guest.
func (g *Gateway) accept(p Publish) {
	defer g.drop(p.Listener)
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
		entered := g.enter(&g.connections, connectionsMax, func() {
			inside, err := g.stack.DialContext(g.ctx, "tcp", p.To)
			if err != nil {
				g.counters.failed.Add(1)
				outside.Close()
				return
			}
			g.counters.connections.Add(1)
			g.join(inside, outside)
		})
		if !entered {
			outside.Close()
		}
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
	defer g.drop(p.Socket)
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
			entered := g.enter(&g.pairs, pairsMax, func() {
				s.answer(g, p.Socket, from)
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
func (s *sender) answer(g *Gateway, socket net.PacketConn, to net.Addr) {
	defer g.drop(s.inside)
	if !g.hold(s.inside) {
		return
	}
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
