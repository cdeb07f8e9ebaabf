// Package frames is the client's side of a port of a network: raw frames over a session,
// without a TCP/IP stack. Package client puts one on top; gateways pass frames on.
//
// Invariant: the place of a frame in the send ring is the number of its buffer, and so it
// is for received frames: the rings are the only bookkeeping of buffers.
//
// Locks: Port.mu guards sending, and is a leaf; receiving belongs to one goroutine.
//
// Trust: the server may write anything into its segment and into the receive buffers at
// any time. Descriptors are checked, and one that no correct server writes ends the
// session; data is only handed on.
package frames

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/quintet-os/quintet/internal/crashpoint"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/network"
)

// postShare is the part of its receive buffers, as a divisor, that a port
// collects before it posts them again: posting one by one would wake a server
// that sleeps for nothing, and a server without buffers is never left waiting,
// since then all of them are here.
const postShare = 4

// Port sends and receives raw frames over a session. Send, Push and Flush may be
// called from any goroutine; Poll and Wait belong to one.
type Port struct {
	session *ipc.Client
	mem     []byte
	buffers int

	mu   sync.Mutex // guards send; a leaf
	send *ipc.Producer

	post     *ipc.Producer
	receive  *ipc.Consumer
	received uint64 // frames taken from receive
	posted   uint64 // buffers pushed to post
	withheld int    // pushed and not published
}

// NewPort takes a session of the geometry of so many buffers, and the granted
// region, and posts all buffers for receiving. Errors are KindGeometry.
func NewPort(session *ipc.Client, region []byte, buffers int) (*Port, error) {
	if err := network.CheckGeometry(network.Geometry(buffers)); err != nil {
		return nil, err
	}
	if len(region) < network.RegionBytes(buffers) {
		return nil, &network.Error{Kind: network.KindGeometry,
			Detail: fmt.Sprintf("a region of %d bytes, need %d", len(region), network.RegionBytes(buffers))}
	}
	p := &Port{session: session, mem: region, buffers: buffers,
		send: session.Out(network.RingSend), post: session.Out(network.RingPost), receive: session.In(network.RingReceive)}
	p.postAll()
	p.post.Publish()
	p.withheld = 0
	return p, nil
}

// postAll pushes the buffers that are the client's: all of them that have room.
// A server shows a frame before it gives the place of its buffer back, so the
// ring may be full here; Wait then returns when it is no longer.
func (p *Port) postAll() {
	for p.posted < p.received+uint64(p.buffers) {
		f := network.Frame{Offset: network.ReceiveBuffer(p.buffers, int(p.posted%uint64(p.buffers))), Length: network.BufferBytes}
		d := f.Encode()
		if !p.post.Push(&d) {
			return
		}
		p.posted++
		p.withheld++
	}
}

// Send sends one frame, given in pieces, and returns false if the ring is full;
// Wait then returns when there is room. Frames longer than FrameBytesMax are cut
// short, and so refused by the server.
func (p *Port) Send(o network.Offload, pieces ...[]byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	ok := p.push(o, pieces)
	p.send.Publish()
	return ok
}

func (p *Port) push(o network.Offload, pieces [][]byte) bool {
	if p.send.Free() == 0 {
		return false
	}
	f := network.Frame{Offset: network.SendBuffer(int(p.send.Tail() % uint64(p.buffers))), Offload: o}
	buf := p.mem[f.Offset : f.Offset+network.FrameBytesMax]
	crashpoint.Here()
	n := 0
	for _, piece := range pieces {
		n += copy(buf[n:], piece)
	}
	f.Length = uint32(n)
	d := f.Encode()
	return p.send.Push(&d)
}

// Poll calls deliver with up to limit received frames and returns their number.
// The data lies in shared memory, may change while it is looked at, and is the
// server's again when deliver returns. Errors mean that the session is over.
func (p *Port) Poll(limit int, deliver func(data []byte, o network.Offload)) (n int, err error) {
	var d ipc.Descriptor
	for n < limit && p.receive.Pop(&d) {
		f, err := network.DecodeFrame(&d, len(p.mem))
		if want := network.ReceiveBuffer(p.buffers, int(p.received%uint64(p.buffers))); err == nil && f.Offset != want {
			err = &network.Error{Kind: network.KindDescriptor, Detail: fmt.Sprintf("a frame at %d, expected at %d", f.Offset, want)}
		}
		if err != nil {
			return n, p.fail(err)
		}
		deliver(p.mem[f.Offset:f.Offset+uint64(f.Length)], f.Offload)
		p.received++
		n++
	}
	p.receive.Commit()
	p.postAll()
	if p.withheld >= p.buffers/postShare {
		p.post.Publish()
		p.withheld = 0
	}
	return n, p.ringErr()
}

func (p *Port) ringErr() error {
	p.mu.Lock()
	err := p.send.Err()
	p.mu.Unlock()
	if err = errors.Join(err, p.post.Err(), p.receive.Err()); err != nil {
		return p.fail(err)
	}
	return nil
}

func (p *Port) fail(err error) error {
	p.session.Fail(ipc.ReasonRing, err.Error())
	return fmt.Errorf("network: the server broke the protocol: %w", err)
}

// Taken tells whether the server has taken all frames that were sent.
func (p *Port) Taken() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.send.Taken()
}

// Wait blocks until frames have come, or there is room to send after there was
// none. Errors are those of ipc.Client.WaitRings.
func (p *Port) Wait(ctx context.Context) error { return p.session.WaitRings(ctx) }

// Close ends the session. The region stays the server's until the supervisor
// confirms the end.
func (p *Port) Close() error { return p.session.Close() }
