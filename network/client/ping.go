package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// sequenceAt is where the sequence number stands in an echo message of either family.
const sequenceAt = 6

// Ping sends ICMP echo requests with that payload, one each interval, until one of
// them is answered, and returns how many were sent. Errors are *net.OpError with the
// context's, or with what package net has for an address that cannot be reached.
func (s *Stack) Ping(ctx context.Context, to netip.Addr, payload []byte, interval time.Duration) (sent int, err error) {
	c, message, err := s.openEcho(to, payload)
	if err != nil {
		return 0, pingError(to, err)
	}
	defer c.Close()
	for buffer := make([]byte, len(message)+1); ; {
		if err := ctx.Err(); err != nil {
			return sent, pingError(to, err)
		}
		binary.BigEndian.PutUint16(message[sequenceAt:], uint16(sent))
		if _, err := c.Write(message); err != nil {
			return sent, pingError(to, translate(err))
		}
		sent++
		answered, err := awaitEcho(ctx, c, message, buffer, interval)
		if answered || err != nil {
			return sent, pingError(to, err)
		}
	}
}

// openEcho returns a connection that carries echo messages with to, and the request.
func (s *Stack) openEcho(to netip.Addr, payload []byte) (*gonet.UDPConn, []byte, error) {
	full, protocol := fullAddress(netip.AddrPortFrom(to, 0))
	transport, kind := icmp.ProtocolNumber4, byte(header.ICMPv4Echo)
	if protocol == ipv6.ProtocolNumber {
		transport, kind = icmp.ProtocolNumber6, byte(header.ICMPv6EchoRequest)
	}
	var queue waiter.Queue
	ep, failed := s.stack.NewEndpoint(transport, protocol, &queue)
	if failed != nil {
		return nil, nil, errors.New(failed.String())
	}
	// The identifier, in the place of a port, is chosen and filled in by the stack.
	if failed := ep.Connect(tcpip.FullAddress{NIC: full.NIC, Addr: full.Addr}); failed != nil {
		ep.Close()
		return nil, nil, translate(errors.New(failed.String()))
	}
	message := append(make([]byte, header.ICMPv6EchoMinimumSize, header.ICMPv6EchoMinimumSize+len(payload)), payload...)
	message[0] = kind
	return gonet.NewUDPConn(&queue, ep), message, nil
}

// awaitEcho waits for an answer to any of the requests, for so long.
func awaitEcho(ctx context.Context, c *gonet.UDPConn, message, buffer []byte, interval time.Duration) (bool, error) {
	if err := c.SetReadDeadline(time.Now().Add(interval)); err != nil {
		return false, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) }) // an open connection takes any deadline
	defer stop()
	for {
		n, err := c.Read(buffer)
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout():
			return false, ctx.Err()
		case err != nil:
			return false, translate(err)
		case n == len(message) && bytes.Equal(buffer[header.ICMPv6EchoMinimumSize:n], message[header.ICMPv6EchoMinimumSize:]):
			return true, nil
		}
	}
}

func pingError(to netip.Addr, err error) error {
	if err == nil {
		return nil
	}
	return &net.OpError{Op: "ping", Net: "ip:icmp", Addr: &net.IPAddr{IP: to.AsSlice(), Zone: to.Zone()}, Err: err}
}
