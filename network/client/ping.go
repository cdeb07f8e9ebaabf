package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
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
			return sent, pingError(to, cause(err))
		}
		sent++
		answered, err := awaitEcho(ctx, c, message, buffer, interval)
		if answered || err != nil {
			return sent, pingError(to, err)
		}
	}
}

// openEcho returns a connection that carries echo messages with to, and the request.
func (s *Stack) openEcho(to netip.Addr, payload []byte) (*UDPConn, []byte, error) {
	full, protocol := fullAddress(netip.AddrPortFrom(to, 0))
	transport, kind := icmp.ProtocolNumber4, byte(header.ICMPv4Echo)
	if protocol == ipv6.ProtocolNumber {
		transport, kind = icmp.ProtocolNumber6, byte(header.ICMPv6EchoRequest)
	}
	ep, queue, err := s.endpoint(transport, protocol)
	if err != nil {
		return nil, nil, err
	}
	// The identifier, in the place of a port, is chosen and filled in by the stack.
	if failed := ep.Connect(tcpip.FullAddress{NIC: full.NIC, Addr: full.Addr}); failed != nil {
		ep.Close()
		return nil, nil, errno(failed)
	}
	message := append(make([]byte, header.ICMPv6EchoMinimumSize, header.ICMPv6EchoMinimumSize+len(payload)), payload...)
	message[0] = kind
	return newUDPConn(s, ep, queue, true), message, nil
}

// awaitEcho waits for an answer to any of the requests, for so long.
func awaitEcho(ctx context.Context, c *UDPConn, message, buffer []byte, interval time.Duration) (bool, error) {
	if err := c.SetReadDeadline(time.Now().Add(interval)); err != nil {
		return false, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) }) // an open connection takes any deadline
	defer stop()
	for {
		n, err := c.Read(buffer)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return false, ctx.Err()
		case err != nil:
			return false, cause(err)
		case n == len(message) && bytes.Equal(buffer[header.ICMPv6EchoMinimumSize:n], message[header.ICMPv6EchoMinimumSize:]):
			return true, nil
		}
	}
}

// cause takes the *net.OpError of a socket off, since ours says more.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func pingError(to netip.Addr, err error) error {
	if err == nil {
		return nil
	}
	return &net.OpError{Op: "ping", Net: "ip:icmp", Addr: &net.IPAddr{IP: to.AsSlice(), Zone: to.Zone()}, Err: err}
}
