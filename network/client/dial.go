package client

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// fallbackDelay is how long the addresses of the family that is tried first have no
// competition, where a net.Dialer does not say: package net's (RFC 6555).
const fallbackDelay = 300 * time.Millisecond

// keepAliveDefault is what connections begin with, as in package net.
var keepAliveDefault = net.KeepAliveConfig{Enable: true}

// keepAlive is what the two fields of a net.Dialer or net.ListenConfig say.
func keepAlive(d time.Duration, k net.KeepAliveConfig) net.KeepAliveConfig {
	if k.Enable {
		return k
	}
	return net.KeepAliveConfig{Enable: d >= 0, Idle: d, Interval: d}
}

// Dial connects like net.Dial.
func (s *Stack) Dial(network, address string) (net.Conn, error) {
	return s.DialContext(context.Background(), network, address)
}

// DialContext connects like the DialContext of an empty net.Dialer; see DialWith.
func (s *Stack) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return s.DialWith(ctx, new(net.Dialer), network, address)
}

// DialWith connects like d.DialContext, over this stack. Networks are tcp, tcp4, tcp6,
// udp, udp4 and udp6; connections are *TCPConn and *UDPConn. Errors are *net.OpError
// with what package net would have: syscall errors, *net.DNSError, one that is the
// context's; and ErrNotSupported for a dialer with Control or ControlContext.
func (s *Stack) DialWith(ctx context.Context, d *net.Dialer, network, address string) (net.Conn, error) {
	if d.Control != nil || d.ControlContext != nil {
		return nil, opError("dial", network, address, fmt.Errorf("control of a file descriptor: %w", ErrNotSupported))
	}
	ctx, cancel := limited(ctx, d)
	defer cancel()
	base, _, err := split(network)
	if err != nil {
		return nil, opError("dial", network, address, err)
	}
	local, err := localEnd(base, d.LocalAddr)
	if err != nil {
		return nil, opError("dial", network, address, err)
	}
	remotes, err := s.resolve(ctx, d.Resolver, network, address, false)
	if err != nil {
		return nil, opError("dial", network, address, contextError(err))
	}
	dial := func(ctx context.Context, remote netip.AddrPort) (net.Conn, error) {
		if base == "udp" {
			return s.dialUDP(local, remote)
		}
		return s.dialTCP(ctx, local, remote, keepAlive(d.KeepAlive, d.KeepAliveConfig))
	}
	primaries, fallbacks := remotes, []netip.AddrPort(nil)
	if base == "tcp" && d.FallbackDelay >= 0 {
		primaries, fallbacks = byFamily(remotes)
	}
	delay := d.FallbackDelay
	if delay == 0 {
		delay = fallbackDelay
	}
	c, err := race(ctx, delay, primaries, fallbacks, dial)
	if err != nil {
		return nil, opError("dial", network, address, contextError(err))
	}
	return c, nil
}

// limited is ctx with what d says of times.
func limited(ctx context.Context, d *net.Dialer) (context.Context, context.CancelFunc) {
	until := d.Deadline
	if d.Timeout > 0 {
		if t := time.Now().Add(d.Timeout); until.IsZero() || t.Before(until) {
			until = t
		}
	}
	var cancel context.CancelFunc
	if until.IsZero() {
		ctx, cancel = context.WithCancel(ctx)
	} else {
		ctx, cancel = context.WithDeadline(ctx, until)
	}
	return ctx, cancel
}

// localEnd is where to dial from; invalid: anywhere.
func localEnd(base string, a net.Addr) (netip.AddrPort, error) {
	var at netip.AddrPort
	switch a := a.(type) {
	case nil:
		return at, nil
	case *net.TCPAddr:
		at = a.AddrPort()
	case *net.UDPAddr:
		at = a.AddrPort()
	}
	if a.Network() != base {
		return at, &net.AddrError{Err: "mismatched local address type", Addr: a.String()}
	}
	ip := at.Addr().Unmap()
	if !ip.IsValid() {
		ip = netip.IPv4Unspecified() // any of either family, see bindAddress
	}
	return netip.AddrPortFrom(ip, at.Port()), nil
}

// byFamily parts addresses into those of the first one's family, and the others.
func byFamily(all []netip.AddrPort) (primaries, fallbacks []netip.AddrPort) {
	for _, a := range all {
		if a.Addr().Is4() == all[0].Addr().Is4() {
			primaries = append(primaries, a)
		} else {
			fallbacks = append(fallbacks, a)
		}
	}
	return primaries, fallbacks
}

type dialFunc func(context.Context, netip.AddrPort) (net.Conn, error)

// race tries the primaries one after another, and beside them, after the delay or when
// they have failed, the fallbacks. The first connection wins (RFC 6555).
func race(ctx context.Context, delay time.Duration, primaries, fallbacks []netip.AddrPort, dial dialFunc) (net.Conn, error) {
	if len(fallbacks) == 0 {
		return inTurn(ctx, primaries, dial)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		c       net.Conn
		err     error
		primary bool
	}
	results := make(chan result)
	over := make(chan struct{})
	defer close(over)
	start := func(addresses []netip.AddrPort, primary bool) {
		c, err := inTurn(ctx, addresses, dial)
		select {
		case results <- result{c, err, primary}:
		case <-over:
			if c != nil {
				_ = c.Close() // the other one has won
			}
		}
	}
	go start(primaries, true)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	waiting, started := 1, false
	var primaryErr error
	for {
		var r result
		select {
		case <-timer.C:
		case r = <-results:
			waiting--
		}
		if r.c != nil {
			return r.c, nil
		}
		if r.primary {
			primaryErr = r.err
		}
		if !started {
			started = true
			waiting++
			go start(fallbacks, false)
		}
		if waiting == 0 {
			return nil, primaryErr
		}
	}
}

// inTurn tries addresses one after another, each for its share of the time that is
// left. The error is the first.
func inTurn(ctx context.Context, addresses []netip.AddrPort, dial dialFunc) (net.Conn, error) {
	var first error
	for i, a := range addresses {
		if err := ctx.Err(); err != nil {
			if first == nil {
				first = err
			}
			break
		}
		c, err := dialShare(ctx, a, len(addresses)-i, dial)
		if err == nil {
			return c, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// shareMin is the least time that one of several addresses is tried for, if there is as
// much: package net's.
const shareMin = 2 * time.Second

func dialShare(ctx context.Context, a netip.AddrPort, left int, dial dialFunc) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok {
		remaining := time.Until(deadline)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, min(remaining, max(shareMin, remaining/time.Duration(left))))
		defer cancel()
	}
	return dial(ctx, a)
}

func (s *Stack) dialTCP(ctx context.Context, local, remote netip.AddrPort, k net.KeepAliveConfig) (net.Conn, error) {
	full, protocol := fullAddress(remote)
	ep, queue, err := s.endpoint(tcp.ProtocolNumber, protocol)
	if err != nil {
		return nil, err
	}
	if err := s.connectTCP(ctx, ep, queue, local, full); err != nil {
		ep.Close()
		return nil, err
	}
	return newTCPConn(s, ep, queue, k), nil
}

func (s *Stack) connectTCP(ctx context.Context, ep tcpip.Endpoint, queue *waiter.Queue, local netip.AddrPort, remote tcpip.FullAddress) error {
	entry, ready := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventErr | waiter.EventHUp)
	queue.EventRegister(&entry)
	defer queue.EventUnregister(&entry)
	if local.IsValid() {
		at, _ := bindAddress(local)
		if err := ep.Bind(at); err != nil {
			return errno(err)
		}
	}
	err := ep.Connect(remote)
	if _, started := err.(*tcpip.ErrConnectStarted); !started {
		return errno(err)
	}
	select {
	case <-ready:
		return errno(ep.LastError())
	case <-ctx.Done():
		return ctx.Err()
	case <-s.link.ended:
		return s.gone()
	}
}

func (s *Stack) dialUDP(local, remote netip.AddrPort) (net.Conn, error) {
	full, protocol := fullAddress(remote)
	var from *tcpip.FullAddress
	if local.IsValid() {
		at, _ := bindAddress(local)
		from = &at
	}
	c, err := s.openUDP(from, &full, protocol)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func fullAddress(a netip.AddrPort) (tcpip.FullAddress, tcpip.NetworkProtocolNumber) {
	protocol := ipv4.ProtocolNumber
	if a.Addr().Is6() {
		protocol = ipv6.ProtocolNumber
	}
	full := tcpip.FullAddress{Addr: address(a.Addr()), Port: a.Port()}
	if a.Addr().IsLinkLocalUnicast() {
		full.NIC = nic
	}
	return full, protocol
}

// bindAddress is fullAddress of an own end, which may be unspecified.
func bindAddress(a netip.AddrPort) (tcpip.FullAddress, tcpip.NetworkProtocolNumber) {
	full, protocol := fullAddress(a)
	if a.Addr().IsUnspecified() {
		full.Addr = tcpip.Address{}
	}
	return full, protocol
}
