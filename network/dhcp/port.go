package dhcp

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/quintet-os/quintet/network"
)

const (
	// resendFirst is how long an answer is waited for at first; it doubles up to
	// resendMax, and each wait is resendSpread longer or shorter (RFC 2131, 4.1).
	resendFirst  = 4 * time.Second
	resendMax    = 64 * time.Second
	resendSpread = time.Second
	// requestsMax is how often an offer is asked for before the search begins again.
	requestsMax = 4
	// refusedPause is how long the search waits after a refusal.
	refusedPause = time.Second
	// renewPause is the least time between two attempts to renew (RFC 2131, 4.4.5).
	renewPause = time.Minute
	// suspendedMin is the shortest suspension that counts, and suspendedLook how often one
	// is looked for.
	suspendedMin  = time.Second
	suspendedLook = 10 * time.Second
)

var (
	anyAddress = netip.IPv4Unspecified()
	everybody  = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

// port is one that has a lease, or wants one. Only one goroutine works on it.
type port struct {
	send      func(frame []byte) error
	suspended func() time.Duration
	mac       network.MAC
	hostname  string
	inbox     chan answer
	ctx       context.Context // ends with the port's interest
	cancel    context.CancelFunc

	bound binding // guarded by Client.mu
}

// acquire goes from selecting to bound.
func (p *port) acquire() (binding, *Error) {
	last := &Error{Kind: KindSilent, MAC: p.mac}
	for {
		x := p.begin()
		offer, err := p.exchange(x, func() []byte { return p.discover(x) }, backoff(-1), func(a answer) bool {
			_, hasAddress := offered(a.DHCPv4)
			_, hasServer := unicast(a.ServerIdentifier())
			return a.MessageType() == dhcpv4.MessageTypeOffer && hasAddress && hasServer
		})
		if err != nil {
			last.Err = err
		}
		if offer == nil {
			return binding{}, last
		}
		x.sent = time.Now()
		got, b, err := p.confirm(x, func() []byte { return p.request(x, offer) }, backoff(requestsMax))
		switch {
		case err != nil:
			last.Err = err
		case got == nil:
		case got.MessageType() == dhcpv4.MessageTypeAck:
			return b, nil
		default:
			last = &Error{Kind: KindRefused, MAC: p.mac, Detail: got.Message()}
			p.sleep(refusedPause)
		}
		if p.ctx.Err() != nil {
			return binding{}, last
		}
	}
}

// renew waits until a lease is to be renewed, and does so, from renewing to rebinding. A
// suspension of the machine meanwhile is part of the lease's time: afterwards the port asks
// at once, and whoever answers, like a host that is started again (RFC 2131, 3.2), since
// even a lease that has ended may still be had.
func (p *port) renew(b binding) (binding, *Error) {
	if b.end.IsZero() {
		<-p.ctx.Done()
		return b, nil
	}
	away := p.await(b.renew)
	x := p.begin()
	var got *answer
	var next binding
	var err error
	if away == 0 {
		got, next, err = p.confirm(x, func() []byte { return p.extend(x, b, false) }, halving(b.rebind))
	} else {
		b.end = b.end.Add(-away)
		got, next, err = p.confirm(x, func() []byte { return p.extend(x, b, true) }, backoff(requestsMax))
	}
	if got == nil {
		x.sent = time.Now()
		got, next, err = p.confirm(x, func() []byte { return p.extend(x, b, true) }, halving(b.end))
	}
	switch {
	case got == nil:
		return b, &Error{Kind: KindExpired, MAC: p.mac, Err: err}
	case got.MessageType() == dhcpv4.MessageTypeNak:
		return b, &Error{Kind: KindRefused, MAC: p.mac, Detail: got.Message()}
	case next.lease.Addresses[0] != b.lease.Addresses[0]:
		return b, &Error{Kind: KindMoved, MAC: p.mac, Detail: next.lease.Addresses[0].String()}
	}
	return next, nil
}

// await waits for a time, or until the machine has been suspended, and returns for how
// long.
func (p *port) await(until time.Time) (away time.Duration) {
	before := p.suspended()
	for left := time.Until(until); left > 0 && p.ctx.Err() == nil; left = time.Until(until) {
		p.sleep(min(left, suspendedLook))
		if away := p.suspended() - before; away >= suspendedMin {
			return away
		}
	}
	return 0
}

// transaction is a question and its answer.
type transaction struct {
	id    dhcpv4.TransactionID
	begun time.Time
	sent  time.Time // the message that is to be answered, first
}

func (p *port) begin() *transaction {
	x := &transaction{begun: time.Now(), sent: time.Now()}
	id := rand.Uint32()
	x.id = dhcpv4.TransactionID{byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)}
	return x
}

// confirm is exchange for messages that a server acknowledges or refuses. An
// acknowledgement counts from when the question was sent first.
func (p *port) confirm(x *transaction, build func() []byte, wait waits) (*answer, binding, error) {
	var b binding
	got, err := p.exchange(x, build, wait, func(a answer) (ok bool) {
		switch a.MessageType() {
		case dhcpv4.MessageTypeAck:
			b, ok = bind(a.DHCPv4, a.via, x.sent)
		case dhcpv4.MessageTypeNak:
			ok = true
		}
		return ok
	})
	return got, b, err
}

// exchange sends what build makes until an answer has come that is the right one, or
// there is nothing left to wait for. The error is that of the last attempt to send.
func (p *port) exchange(x *transaction, build func() []byte, wait waits, right func(answer) bool) (*answer, error) {
	var failed error
	for n := 0; p.ctx.Err() == nil; n++ {
		limit, more := wait(n)
		if !more {
			return nil, failed
		}
		failed = p.send(build())
		timer := time.NewTimer(limit)
		for waiting := true; waiting; {
			select {
			case a := <-p.inbox:
				if a.TransactionID == x.id && right(a) {
					timer.Stop()
					return &a, nil
				}
			case <-timer.C:
				waiting = false
			case <-p.ctx.Done():
				timer.Stop()
				return nil, failed
			}
		}
	}
	return nil, failed
}

// waits says how long to wait for an answer to the n-th message, from 0; false if it is
// not to be sent.
type waits func(n int) (time.Duration, bool)

// backoff is for so many messages, or without end if limit is negative.
func backoff(limit int) waits {
	return func(n int) (time.Duration, bool) {
		wait := min(resendFirst<<min(n, 8), resendMax)
		return wait + rand.N(2*resendSpread) - resendSpread, limit < 0 || n < limit
	}
}

// halving is for messages until a time.
func halving(until time.Time) waits {
	return func(int) (time.Duration, bool) {
		left := time.Until(until)
		return min(max(left/2, renewPause), left), left > 0
	}
}

// sleep waits, or until nobody is interested any more.
func (p *port) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.ctx.Done():
	}
}
