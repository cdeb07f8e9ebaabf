package client

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/client/frames"
)

const (
	// pollFrames bounds the frames handled before the stack's goroutines get their
	// turn, and before the next look at what waits to be sent: few enough that the
	// payload of as many super-segments is still in the caches then.
	pollFrames = 8
	// queueMax bounds the packets that wait for room in the send ring. They share
	// the memory of the sockets' send buffers, so it is these that bound the bytes
	// and hold up the programs; blocking here would hold up the stack.
	queueMax = 16 << 10
	// gsoBytesMax is the largest super-segment with all headers: an IP packet.
	gsoBytesMax = 65535
	// oneViewMax is the largest frame that is delivered in one piece. The stack
	// clones the piece that holds the headers when it takes them off, so those of
	// larger frames get a piece of their own.
	oneViewMax = 2048
	// headersPiece is the length of that piece if the frame does not say.
	headersPiece = 192
)

// endpoint is a link of the TCP/IP stack over a port. It implements
// stack.LinkEndpoint and stack.GSOEndpoint.
type endpoint struct {
	port   *frames.Port
	mac    tcpip.LinkAddress
	mtu    atomic.Uint32
	ignore func(data []byte) bool // frames that the stack is not to see; nil: none

	queueMu sync.Mutex // guards queue and the order of sending; taken before Port.mu
	queue   queue

	mu         sync.RWMutex // guards the fields below; a leaf
	dispatcher stack.NetworkDispatcher
	onClose    func()

	cancel  context.CancelFunc
	running sync.WaitGroup
	err     atomic.Pointer[error] // why the poll loop has ended
	ended   chan struct{}         // closed then

	dropped atomic.Uint64 // packets for which there was no room
	damaged atomic.Uint64 // frames with a wrong checksum
}

func newEndpoint(port *frames.Port, mac network.MAC, mtu int) *endpoint {
	e := &endpoint{port: port, mac: tcpip.LinkAddress(mac[:]), ended: make(chan struct{})}
	e.mtu.Store(uint32(mtu))
	return e
}

// start begins to receive.
func (e *endpoint) start() {
	ctx, cancel := context.WithCancel(context.Background())
	e.cancel = cancel
	e.running.Go(func() {
		defer close(e.ended)
		if err := e.run(ctx); ctx.Err() == nil {
			e.err.Store(&err)
		}
	})
}

// run is the one goroutine that receives.
func (e *endpoint) run(ctx context.Context) error {
	for {
		n, err := e.port.Poll(pollFrames, e.receive)
		if err != nil {
			return err
		}
		e.flush()
		if n > 0 {
			// The frames are in the queues of connections. The stack's goroutines, and
			// then the program's, take them from there, and should do so here and now
			// instead of on another thread that has to be woken for it.
			runtime.Gosched()
			continue
		}
		if err := e.port.Wait(ctx); err != nil {
			return err
		}
	}
}

// receive hands a frame to the stack, in memory that nobody else can change.
func (e *endpoint) receive(data []byte, o network.Offload) {
	if len(data) < header.EthernetMinimumSize || e.ignore != nil && e.ignore(data) {
		return
	}
	if o.Flags&network.NeedsChecksum == 0 && !intact(data) {
		e.damaged.Add(1)
		return
	}
	first := len(data)
	if first > oneViewMax {
		first = headersPiece
		if o.GSO != network.GSONone {
			first = int(o.HeaderBytes)
		}
	}
	payload := buffer.MakeWithView(buffer.NewViewWithData(data[:first]))
	if first < len(data) {
		// Append fails only for a view that is shared, which a new one is not.
		_ = payload.Append(buffer.NewViewWithData(data[first:]))
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: payload})
	defer pkt.DecRef()
	if !e.ParseHeader(pkt) {
		return
	}
	eth := header.Ethernet(pkt.LinkHeader().Slice())
	switch dst := eth.DestinationAddress(); {
	case dst == header.EthernetBroadcastAddress:
		pkt.PktType = tcpip.PacketBroadcast
	case header.IsMulticastEthernetAddress(dst):
		pkt.PktType = tcpip.PacketMulticast
	case dst == e.mac:
		pkt.PktType = tcpip.PacketHost
	default:
		return // flooded: meant for somebody else
	}
	e.mu.RLock()
	d := e.dispatcher
	e.mu.RUnlock()
	if d != nil {
		d.DeliverNetworkPacket(eth.Type(), pkt)
	}
}

// WritePackets sends packets, or queues them while the ring is full. Packets that
// find the queue full too are lost, as in any network.
func (e *endpoint) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	if e.err.Load() != nil {
		return 0, &tcpip.ErrClosedForSend{}
	}
	e.queueMu.Lock()
	defer e.queueMu.Unlock()
	sent := 0
	for _, pkt := range pkts.AsSlice() {
		if e.queue.len() == 0 && e.send(pkt) {
			sent++
			continue
		}
		if e.queue.len() >= queueMax {
			e.dropped.Add(1)
			return sent, &tcpip.ErrNoBufferSpace{}
		}
		e.queue.push(pkt.IncRef())
		sent++
	}
	return sent, nil
}

// send puts one packet into the ring.
func (e *endpoint) send(pkt *stack.PacketBuffer) bool {
	var o network.Offload
	if g := &pkt.GSOOptions; g.NeedsCsum {
		link := len(pkt.LinkHeader().Slice())
		start := link + len(pkt.NetworkHeader().Slice())
		o = network.Offload{Flags: network.NeedsChecksum, ChecksumStart: uint16(start), ChecksumOffset: g.CsumOffset}
		headers := start + len(pkt.TransportHeader().Slice())
		if g.MSS > 0 && pkt.Size()-headers > int(g.MSS) {
			o.HeaderBytes, o.SegmentBytes = uint16(headers), g.MSS
			o.GSO = network.GSOTCP4
			if g.Type == stack.GSOTCPv6 {
				o.GSO = network.GSOTCP6
			}
		}
	}
	return e.port.Send(o, pkt.AsSlices()...)
}

// flush sends what has been waiting for room.
func (e *endpoint) flush() {
	e.queueMu.Lock()
	defer e.queueMu.Unlock()
	for e.queue.len() > 0 && e.send(e.queue.first()) {
		e.queue.pop().DecRef()
	}
}

// sent tells whether nothing waits to be sent, here or in the ring.
func (e *endpoint) sent() bool {
	e.queueMu.Lock()
	defer e.queueMu.Unlock()
	return e.queue.len() == 0 && e.port.Taken()
}

// close stops receiving, and drops what waits.
func (e *endpoint) close() {
	e.cancel()
	e.running.Wait()
	e.queueMu.Lock()
	defer e.queueMu.Unlock()
	for e.queue.len() > 0 {
		e.queue.pop().DecRef()
	}
}

// Err is why the link is dead, or nil.
func (e *endpoint) Err() error {
	if err := e.err.Load(); err != nil {
		return *err
	}
	return nil
}

func (e *endpoint) MTU() uint32                             { return e.mtu.Load() }
func (e *endpoint) SetMTU(mtu uint32)                       { e.mtu.Store(mtu) }
func (e *endpoint) MaxHeaderLength() uint16                 { return header.EthernetMinimumSize }
func (e *endpoint) LinkAddress() tcpip.LinkAddress          { return e.mac }
func (e *endpoint) SetLinkAddress(tcpip.LinkAddress)        {} // it is the port's, and the server enforces it
func (e *endpoint) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }
func (e *endpoint) Wait()                                   { e.running.Wait() }
func (e *endpoint) GSOMaxSize() uint32                      { return gsoBytesMax }
func (e *endpoint) SupportedGSO() stack.SupportedGSO        { return stack.HostGSOSupported }

// Capabilities: received checksums need not be looked at, since receive has done so
// where there are any; small segments get theirs from the stack.
func (e *endpoint) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload | stack.CapabilityResolutionRequired
}

func (e *endpoint) Attach(d stack.NetworkDispatcher) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dispatcher = d
}

func (e *endpoint) IsAttached() bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.dispatcher != nil
}

func (e *endpoint) AddHeader(pkt *stack.PacketBuffer) {
	header.Ethernet(pkt.LinkHeader().Push(header.EthernetMinimumSize)).Encode(&header.EthernetFields{
		SrcAddr: e.mac, DstAddr: pkt.EgressRoute.RemoteLinkAddress, Type: pkt.NetworkProtocolNumber,
	})
}

func (e *endpoint) ParseHeader(pkt *stack.PacketBuffer) bool {
	_, ok := pkt.LinkHeader().Consume(header.EthernetMinimumSize)
	return ok
}

func (e *endpoint) SetOnCloseAction(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.onClose = f
}

// Close is called when the stack removes the link.
func (e *endpoint) Close() {
	e.mu.Lock()
	f := e.onClose
	e.onClose = nil
	e.mu.Unlock()
	if f != nil {
		f()
	}
}
