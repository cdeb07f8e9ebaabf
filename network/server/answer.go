package server

import (
	"encoding/binary"
	"net/netip"

	"github.com/quintet-os/quintet/network"
)

const hopLimit = 64

// answer resets who sends to a port that has left, so that he learns of it. Frames that
// are not answered go on; a SYN does too, since a successor may be about to come.
func (c *Core) answer(p *port, f *frame) (taken bool) {
	d := p.fabric.departed[f.dst]
	if d == nil {
		return false
	}
	if c.now-d.begun > departedFor {
		c.forget(d)
		return false
	}
	flags := f.segment()
	if flags&(tcpACK|tcpRST) == 0 {
		return false
	}
	e, ok := f.connection()
	if !ok || !d.sends(p, &e.Peer, f.vlan) {
		return false
	}
	back := e.reversed()
	c.spend(p, workNote, workNote)
	p.rate.pay(int64(f.length))
	p.sent(f)
	if p.tap != nil {
		p.tap.record(c.now, f.headers, f.payload, f.offload)
	}
	p.learn(f.src, f.vlan, c.now)
	t := f.turn(flags)
	if n := d.find(&back); flags&tcpRST != 0 || n != nil && n.complete(&t, f.dataBytes()) {
		p.fabric.told(f.dst, &back)
		return true
	}
	if p.room() {
		p.fabric.told(f.dst, &back)
		p.row.came(&e, &turn{flags: tcpRST}, f.dst, p.owner)
	}
	c.own.compose(&back, f.src, f.dst, f.vlan, tcpRST, t.ack, 0)
	work := c.deliver(p, &c.own, network.DropFull)
	c.spend(p, work, work)
	return true
}

// complete tells whether the peer has received the FIN of a connection, and so all of
// it. It has read none of it, perhaps, and a reset could take that from it.
func (c *connection) complete(t *turn, bytes int) bool {
	return c.State&ended != 0 && t.ack == c.End && t.flags&(tcpSYN|tcpFIN) == 0 && bytes == 0
}

func (d *departed) find(e *endpoints) *connection {
	if i, ok := d.index[*e]; ok {
		return &d.untold[i].connection
	}
	return nil
}

// sends tells whether the port could have sent a frame from that address to q: nothing
// goes out in its name that would not have passed the guard then, and would not now.
func (d *departed) sends(q *port, from *[16]byte, vlan uint16) bool {
	p := d.port
	a := netip.AddrFrom16(*from).Unmap()
	if now := p.fabric.addresses[a]; now != nil && now.cfg.MAC != p.cfg.MAC || !p.cfg.Uplink && !p.owns(a) {
		return false
	}
	here, _ := p.carries(vlan)
	there, _ := q.carries(vlan)
	return here && there && p.meets(q)
}

// probe asks the peer of a connection for an acknowledgement, by a segment that it
// cannot accept, since its number is long past; or, if so much has been sent that it
// is not, the next time by one that lies across. It returns false if there is no room
// for it now.
func (c *Core) probe(d *departed, n *connection, times int) (done bool) {
	f := d.port.fabric
	seq := n.Seq + uint32(times&1)<<31
	c.own.compose(&n.endpoints, n.PeerMAC, d.port.cfg.MAC, n.VLAN, tcpACK, seq, n.PeerSeq+1)
	whom, one := f.uplinks, [1]*port{}
	if q := f.find(n.PeerMAC, n.VLAN, c.now); q != nil {
		if !q.lost() && !q.room() {
			return false
		}
		one[0], whom = q, one[:]
	}
	for _, q := range whom {
		if q.cfg.MAC != d.port.cfg.MAC && d.sends(q, &n.Local, n.VLAN) {
			c.units -= c.deliver(q, &c.own, network.DropFull)
		}
	}
	return true
}

// compose makes a TCP segment without data.
func (f *frame) compose(e *endpoints, dst, src network.MAC, vlan uint16, flags byte, seq, ack uint32) {
	v4, from := netip.AddrFrom16(e.Local).Is4In6(), 0
	h := append(append(f.copied[:0], dst[:]...), src[:]...)
	if v4 {
		from = len(e.Local) - 4
		h = binary.BigEndian.AppendUint16(h, etherIPv4)
		h = append(h, 0x45, 0, 0, ipv4Bytes+tcpBytes, 0, 0, 0x40, 0, hopLimit, protoTCP, 0, 0)
	} else {
		h = binary.BigEndian.AppendUint16(h, etherIPv6)
		h = append(h, 0x60, 0, 0, 0, 0, tcpBytes, protoTCP, hopLimit)
	}
	at := len(h)
	h = append(append(h, e.Local[from:]...), e.Peer[from:]...)
	pseudo := network.Sum(protoTCP+tcpBytes, h[at:])
	if ip := h[network.EthernetBytes:]; v4 {
		binary.BigEndian.PutUint16(ip[10:], ^network.Fold(network.Sum(0, ip)))
	}
	at = len(h)
	h = binary.BigEndian.AppendUint16(h, e.LocalPort)
	h = binary.BigEndian.AppendUint16(h, e.PeerPort)
	h = binary.BigEndian.AppendUint32(h, seq)
	h = binary.BigEndian.AppendUint32(h, ack)
	h = append(h, tcpBytes/4<<4, flags, 0, 0, 0, 0, 0, 0)
	binary.BigEndian.PutUint16(h[at+tcpChecksumAt:], ^network.Fold(network.Sum(pseudo, h[at:])))
	f.headers, f.payload, f.length, f.offload = h, nil, len(h), network.Offload{}
	f.dst, f.src, f.vlan, f.tagged, f.tag = dst, src, vlan, false, 0
}
