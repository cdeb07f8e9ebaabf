package client

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/quintet-os/quintet/internal/share"
)

const (
	// openingMax bounds the connections that are being opened at once, shared fairly by
	// those who open them; requests beyond are not answered, and come again.
	openingMax = 1024
	// inFlightMax bounds them together with those whose place has been given to others
	// and whose end is on its way.
	inFlightMax = 2 * openingMax
	// A request that is not answered comes again after a second or more, and then after
	// twice as long each time (RFC 6298, 5.5). So whoever has not asked again after
	// patienceMin, or patienceFactor times his last pause, has given up.
	patienceMin    = 5 * time.Second
	patienceFactor = 3
)

// Opening is a connection that somebody has asked for and that is neither accepted nor
// refused yet. Accept or Fail is called once, by one goroutine.
type Opening struct {
	// From and To are its ends.
	From, To netip.AddrPort

	stack   *Stack
	list    *openings
	id      stack.TransportEndpointID
	request *tcp.ForwarderRequest
	quote   []byte // of the request, for messages about it
	place   *share.Place[netip.Addr]
	ctx     context.Context
	cancel  context.CancelFunc

	mu    sync.Mutex // guards the fields below; a leaf
	last  time.Time  // when the request came last
	timer *time.Timer
}

// Context ends when whoever asks has given up, or has to make room for others.
func (o *Opening) Context() context.Context { return o.ctx }

// Accept makes the connection.
func (o *Opening) Accept() (*TCPConn, error) {
	defer o.end()
	stop := context.AfterFunc(o.ctx, o.abort)
	defer stop()
	var queue waiter.Queue
	ep, err := o.request.CreateEndpoint(&queue)
	o.request.Complete(false)
	if err != nil {
		return nil, fmt.Errorf("accept a connection from %v to %v: %w", o.From, o.To, errno(err))
	}
	return newTCPConn(o.stack, ep, &queue, keepAliveDefault), nil
}

// abort ends the wait for the last message of the handshake.
func (o *Opening) abort() {
	protocol := ipv4.ProtocolNumber
	if o.From.Addr().Is6() {
		protocol = ipv6.ProtocolNumber
	}
	if ep := o.stack.stack.FindTransportEndpoint(protocol, tcp.ProtocolNumber, o.id, nic); ep != nil {
		ep.Abort()
	}
}

// Fail answers as the network would that has failed with err, an error of package net:
// a refused connection is refused, an unreachable destination is reported as such, and
// whatever else it is, as a time-out, is not answered at all.
func (o *Opening) Fail(err error) {
	defer o.end()
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) {
		o.request.Complete(true)
		return
	}
	o.request.Complete(false)
	if u, known := unreachableFor(err); known {
		// Whoever asks gets no answer, and asks again.
		_ = o.stack.sendUnreachable(o.To.Addr(), o.From.Addr(), u, o.quote)
	}
}

func (o *Opening) end() {
	o.cancel()
	o.place.Leave()
	o.mu.Lock()
	o.timer.Stop()
	o.mu.Unlock()
	o.list.forget(o)
}

// again notes that the request has come again.
func (o *Opening) again(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.timer.Reset(max(patienceMin, patienceFactor*now.Sub(o.last)))
	o.last = now
}

// openings are those of a router. An opening is listed from before the library has its
// request until after it has given it up, so the library never has one that is not.
type openings struct {
	stack  *Stack
	call   func(*Opening)
	accept *tcp.Forwarder
	places *share.Pool[netip.Addr]

	mu  sync.Mutex // guards all; a leaf
	all map[stack.TransportEndpointID]*Opening
}

func newOpenings(s *Stack, call func(*Opening)) *openings {
	o := &openings{stack: s, call: call, places: share.NewPool[netip.Addr](openingMax), all: make(map[stack.TransportEndpointID]*Opening)}
	o.accept = tcp.NewForwarder(s.stack, 0, inFlightMax+1, o.opened)
	return o
}

// handle takes a segment to a connection that is not there; false: it is no request.
func (o *openings) handle(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	segment := header.TCP(pkt.TransportHeader().Slice())
	if len(segment) < header.TCPMinimumSize || segment.Flags()&(header.TCPFlagSyn|header.TCPFlagAck) != header.TCPFlagSyn {
		return o.accept.HandlePacket(id, pkt)
	}
	now := time.Now()
	o.mu.Lock()
	known, full := o.all[id], len(o.all) >= inFlightMax
	o.mu.Unlock()
	if known != nil {
		known.again(now)
		return true
	}
	if full {
		return true // it comes again
	}
	from, to := ends(id)
	opening := &Opening{From: from, To: to, stack: o.stack, list: o, id: id, last: now}
	opening.quote = append(append(opening.quote, pkt.NetworkHeader().Slice()...), segment[:quotedBytes]...)
	opening.ctx, opening.cancel = context.WithCancel(context.Background())
	if opening.place = o.places.Take(from.Addr(), opening.cancel); opening.place == nil {
		opening.cancel()
		return true // it comes again
	}
	opening.timer = time.AfterFunc(patienceMin, opening.cancel)
	o.mu.Lock()
	o.all[id] = opening
	o.mu.Unlock()
	if !o.accept.HandlePacket(id, pkt) { // it is damaged
		opening.end()
		return false
	}
	return true
}

// opened is called by the library, in a goroutine for each request.
func (o *openings) opened(r *tcp.ForwarderRequest) {
	o.mu.Lock()
	opening := o.all[r.ID()]
	o.mu.Unlock()
	opening.request = r
	o.call(opening)
}

func (o *openings) forget(opening *Opening) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.all, opening.id)
}
