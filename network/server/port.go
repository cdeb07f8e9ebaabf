package server

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/quintet-os/quintet/internal/crashpoint"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/network"
)

// port is one session with what the switch knows about it.
type port struct {
	session *ipc.Session
	cfg     network.PortConfig
	fabric  *fabric
	row     *row                                // its connections
	owner   *owner                              // of the row
	trunk   [(network.VLANMax + 64) / 64]uint64 // bits of cfg.Trunk
	own     []netip.Addr                        // cfg.Addresses and the link-local one
	mem     []byte                              // the region; nil until granted
	due     time.Duration                       // when the region must be there; 0: nothing was sent yet

	send, post *ipc.Consumer
	receive    *ipc.Producer
	empty      []uint64 // offsets of posted buffers, a ring of the size of the geometry
	head, tail uint64   // of empty
	filled     int      // buffers filled and not yet published

	next     network.Frame // taken from send and not yet forwarded
	taken    bool
	hold     hold
	patience patience
	fullAt   time.Duration // since when somebody has waited for an empty buffer; -1: there was one
	talks    talks
	rate     bucket
	offences offences
	floods   bucket // of frames
	credit   int    // see turn.go

	learned  int // addresses in the fabric's table that are behind this port
	tap      *Capture
	counters network.Counters
	broken   error
	failed   bool
	gone     bool
}

var errRegion = errors.New("no writable region was granted")

func newPort(s *ipc.Session, cfg network.PortConfig, f *fabric) *port {
	p := &port{
		session: s, cfg: cfg, fabric: f, own: append([]netip.Addr{cfg.MAC.LinkLocal()}, cfg.Addresses...),
		send: s.Out(network.RingSend), post: s.Out(network.RingPost), receive: s.In(network.RingReceive),
		empty: make([]uint64, s.Geometry().RingEntries),
	}
	for _, v := range cfg.Trunk {
		p.trunk[v>>6] |= 1 << (v & 63)
	}
	p.patience.left, p.fullAt = patienceMax, -1
	p.talks = talks{at: -aloneAfter - 1, others: -aloneAfter - 1}
	p.rate = newBucket(cfg.Rate, cfg.RateBurst())
	p.floods = newBucket(floodRate, floodBurst)
	return p
}

// recover skips the posted buffers that a predecessor has filled and published.
func (p *port) recover() {
	if p.session.Err() != nil {
		p.failed = true
		return
	}
	var d ipc.Descriptor
	for n := p.receive.Published() - p.post.Released(); n > 0; n-- {
		if !p.post.Pop(&d) {
			p.broken = fmt.Errorf("%d received frames have no posted buffer", n)
			return
		}
	}
	p.post.Commit()
}

// mapped tells whether the region is there.
func (p *port) mapped() bool {
	if p.mem == nil {
		if r, ok := p.session.Region(network.RegionID); ok && r.Writable {
			p.mem = r.Mem
		}
	}
	return p.mem != nil
}

// take makes next the next frame to forward, unless there is none.
func (p *port) take() bool {
	if p.taken {
		return true
	}
	var d ipc.Descriptor
	if p.broken != nil || !p.send.Pop(&d) {
		return false
	}
	var err error
	if p.next, err = network.DecodeFrame(&d, len(p.mem)); err != nil {
		p.broken = fmt.Errorf("sent: %w", err)
		return false
	}
	p.taken = true
	return true
}

// room tells whether there is an empty buffer to deliver into.
func (p *port) room() bool {
	if p.head == p.tail {
		p.collect()
	}
	return p.head != p.tail && p.receive.Free() > 0
}

// collect takes all posted buffers; their places in the ring are released when
// they have been used.
func (p *port) collect() {
	if p.broken != nil || p.failed || !p.mapped() {
		return
	}
	var d ipc.Descriptor
	for p.tail-p.head < uint64(len(p.empty)) && p.post.Pop(&d) {
		b, err := network.DecodeBuffer(&d, len(p.mem))
		if err != nil {
			p.broken = fmt.Errorf("posted: %w", err)
			return
		}
		p.empty[p.tail&uint64(len(p.empty)-1)] = b.Offset
		p.tail++
		p.fullAt = -1
	}
}

// deliver copies a frame into the next empty buffer, which must be there.
func (p *port) deliver(headers, payload []byte, offload network.Offload) {
	at := p.empty[p.head&uint64(len(p.empty)-1)]
	p.head++
	buf := p.mem[at : at+network.BufferBytes]
	crashpoint.Here()
	n := copy(buf, headers)
	crashpoint.Here()
	n += copy(buf[n:], payload)
	filled := network.Frame{Offset: at, Length: uint32(n), Offload: offload}
	d := filled.Encode()
	p.receive.Push(&d)
	p.filled++
	p.counters.Received++
	p.counters.ReceivedBytes += uint64(n)
}

// publish shows the filled buffers to the client. The first of the two writes is
// the truth; recover makes good a death before the second.
func (p *port) publish() {
	p.receive.Publish()
	p.post.Release(p.filled)
	p.filled = 0
}

// lost tells whether nothing will ever be delivered here again.
func (p *port) lost() bool {
	return p.gone || p.failed || p.broken != nil || p.post.Err() != nil || p.receive.Err() != nil
}

// error is what the client has broken, if anything.
func (p *port) error() error {
	return errors.Join(p.broken, p.send.Err(), p.post.Err(), p.receive.Err())
}

// carries tells whether frames of the VLAN leave through this port, and whether
// with a tag.
func (p *port) carries(vlan uint16) (yes, tagged bool) {
	if vlan == p.cfg.VLAN {
		return true, false
	}
	return p.trunk[vlan>>6]&(1<<(vlan&63)) != 0, true
}

// meets tells whether two ports exchange frames at all.
func (p *port) meets(q *port) bool {
	return p.cfg.Group == q.cfg.Group || p.cfg.Group == 0 || q.cfg.Group == 0
}
