package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// tryMax is how long a resolver may take over an answer, rounds how often each is
	// asked, and exchangeMax bounds all of it.
	tryMax      = 1500 * time.Millisecond
	rounds      = 2
	exchangeMax = 10 * time.Second
)

var (
	errNoQuery    = errors.New("dns: the message to be forwarded is no query")
	errNoResolver = errors.New("dns: there is no resolver to ask; give the uplink resolvers")
)

// DialFunc opens connections, as net.Dialer.DialContext does.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Resolvers returns those who are to be asked now, the first that answers; none: there
// are no other names.
type Resolvers func(ctx context.Context) []netip.AddrPort

// Fixed are resolvers that are always the same.
func Fixed(r ...netip.AddrPort) Resolvers {
	return func(context.Context) []netip.AddrPort { return r }
}

// Exchange returns a Forward that asks resolvers by connections that dial opens:
// datagrams, and a stream when the answer does not fit in one.
func Exchange(dial DialFunc, resolvers Resolvers) Forward {
	return func(ctx context.Context, message []byte) ([]byte, error) {
		q, refusal, ok := parse(message)
		if !ok || refusal != dnsmessage.RCodeSuccess {
			return nil, errNoQuery
		}
		ctx, cancel := context.WithTimeout(ctx, exchangeMax)
		defer cancel()
		failure, refused := errNoResolver, []byte(nil)
		all := resolvers(ctx)
		for range rounds {
			for _, r := range all {
				reply, err := q.ask(ctx, dial, r, message)
				if err == nil && useful(reply) {
					return reply, nil
				}
				if err != nil {
					failure = fmt.Errorf("dns: ask %v: %w", r, err)
				} else {
					refused = reply
				}
				if ctx.Err() != nil {
					return nil, failure
				}
			}
			if refused != nil {
				return refused, nil // that will not change at once
			}
		}
		return nil, failure
	}
}

// useful tells whether a reply says something of the name, not only of the resolver.
func useful(reply []byte) bool {
	rcode := dnsmessage.RCode(reply[3] & 0xf)
	return rcode == dnsmessage.RCodeSuccess || rcode == dnsmessage.RCodeNameError
}

// ask asks one resolver once.
func (q *query) ask(ctx context.Context, dial DialFunc, r netip.AddrPort, message []byte) ([]byte, error) {
	reply, err := q.try(ctx, dial, "udp", r, message)
	if err != nil || reply[2]&2 == 0 { // it is whole
		return reply, err
	}
	if longer, err := q.try(ctx, dial, "tcp", r, message); err == nil {
		return longer, nil
	}
	return reply, nil
}

func (q *query) try(ctx context.Context, dial DialFunc, network string, r netip.AddrPort, message []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, tryMax)
	defer cancel()
	c, err := dial(ctx, network, r.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	if network == "tcp" {
		if err := sendStream(c, message); err != nil {
			return nil, err
		}
		reply, err := receiveStream(c)
		if err == nil && !q.answeredBy(reply) {
			err = errors.New("its answer is one to another question")
		}
		return reply, err
	}
	if _, err := c.Write(message); err != nil {
		return nil, err
	}
	for buffer := make([]byte, messageBytesMax); ; {
		n, err := c.Read(buffer)
		if err != nil {
			return nil, err
		}
		if q.answeredBy(buffer[:n]) { // else it comes late, or from somebody else
			return buffer[:n], nil
		}
	}
}
