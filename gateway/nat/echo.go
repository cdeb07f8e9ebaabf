package nat

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
)

// Echo messages of ICMP (RFC 792, RFC 4443): type, code, checksum, identifier,
// sequence, each of 16 bits but the first two.
const (
	echoBytes    = 8
	echoRequest4 = 8
	echoReply4   = 0
	echoRequest6 = 128
	echoReply6   = 129
)

// Ping returns a socket of the host that exchanges ICMP messages with an address. It
// fails where the host allows no such sockets to the caller (see
// net.ipv4.ping_group_range).
func Ping(to netip.Addr) (net.Conn, error) {
	file, err := unix.OpenPing(to.Is6())
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if err := unix.Connect(int(file.Fd()), to); err != nil {
		return nil, err
	}
	return net.FileConn(file)
}

// echo passes an echo request on to the world, and its answer back.
func (g *Gateway) echo(from, to netip.Addr, _, sequence uint16, payload []byte, answer func([]byte) error) {
	if g.own[to] || !reachable(to) {
		g.counters.refused.Add(1)
		return
	}
	g.enter(g.echoes, ownerOf(from), func(ctx context.Context) {
		socket, err := g.cfg.Ping(to)
		if err != nil {
			g.counters.failed.Add(1)
			return
		}
		defer socket.Close()
		defer closeWith(ctx, socket)()
		reply, err := exchangeEcho(socket, to.Is6(), sequence, payload)
		if err != nil || answer(reply) != nil {
			g.counters.failed.Add(1)
			return
		}
		g.counters.echoes.Add(1)
	})
}

// exchangeEcho sends a request on a socket of its own and returns the payload of the
// answer. The kernel fills in identifier and checksum.
func exchangeEcho(socket net.Conn, ipv6 bool, sequence uint16, payload []byte) ([]byte, error) {
	kind, want := byte(echoRequest4), byte(echoReply4)
	if ipv6 {
		kind, want = echoRequest6, echoReply6
	}
	message := make([]byte, echoBytes, echoBytes+len(payload))
	message[0] = kind
	binary.BigEndian.PutUint16(message[6:], sequence)
	if _, err := socket.Write(append(message, payload...)); err != nil {
		return nil, err
	}
	if err := socket.SetReadDeadline(time.Now().Add(echoMax)); err != nil {
		return nil, err
	}
	for buffer := make([]byte, datagramMax); ; {
		n, err := socket.Read(buffer)
		if err != nil {
			return nil, err
		}
		if n >= echoBytes && buffer[0] == want && binary.BigEndian.Uint16(buffer[6:]) == sequence {
			return buffer[echoBytes:n], nil
		}
	}
}
