package server

import (
	"encoding/binary"
	"net/netip"

	"github.com/quintet-os/quintet/internal/crashpoint"
	"github.com/quintet-os/quintet/network"
)

// Flags of a TCP segment (RFC 9293, 3.1).
const (
	tcpFIN = 1 << 0
	tcpSYN = 1 << 1
	tcpRST = 1 << 2
	tcpACK = 1 << 4

	// tcpTurns are those of the segments with which a connection begins or ends. No
	// other is looked at.
	tcpTurns = tcpFIN | tcpSYN | tcpRST
)

// state of a connection, as far as both ends have shown it. A SYN alone proves
// nothing of the other end.
type state uint8

const (
	asked    state = 1 << iota // the port has sent a SYN
	wanted                     // the peer has sent a SYN
	answered                   // and the other end has answered it
	ended                      // the port has sent a FIN
	peerEnded
)

func (k *Connections) row(i int) *row {
	if k.rows[i] == nil {
		k.rows[i] = new(row)
	}
	return k.rows[i]
}

// set is where a connection is, if it is anywhere.
func (r *row) set(e *endpoints) *[rowWays]connection {
	h := uint64(e.LocalPort)<<16 | uint64(e.PeerPort)
	for _, a := range [...]*[16]byte{&e.Local, &e.Peer} {
		h = (h ^ binary.LittleEndian.Uint64(a[:8])) * 0x9e3779b97f4a7c15
		h = (h ^ h>>32 ^ binary.LittleEndian.Uint64(a[8:])) * 0x9e3779b97f4a7c15
	}
	return &r[h>>32%rowSets]
}

func (r *row) find(e *endpoints) *connection {
	s := r.set(e)
	for i := range s {
		if s[i].State != 0 && s[i].endpoints == *e {
			return &s[i]
		}
	}
	return nil
}

// enter finds a place for a connection: that of one whose SYN nobody has answered, or
// the oldest with the same peer, or the oldest. So neither those who are asked and do
// not answer, nor one peer, drive out the connections of others.
func (r *row) enter(e *endpoints, peer network.MAC) *connection {
	s := r.set(e)
	var best *connection
	for i := range s {
		c := &s[i]
		if c.State == 0 {
			return c
		}
		if best == nil || c.before(best, peer) {
			best = c
		}
	}
	return best
}

// before tells whether c goes before o.
func (c *connection) before(o *connection, peer network.MAC) bool {
	if a, b := c.State&answered == 0, o.State&answered == 0; a != b {
		return a
	}
	if a, b := c.PeerMAC == peer, o.PeerMAC == peer; a != b {
		return a
	}
	return int32(c.Age-o.Age) < 0
}

// turn is a segment with which a connection begins or ends.
type turn struct {
	flags    byte
	seq, ack uint32
	end      uint32 // the number after its FIN
	vlan     uint16
}

// connection reads the endpoints of a TCP segment, as its sender sees them; false if
// there are none that anybody could be told of.
func (f *frame) connection() (e endpoints, ok bool) {
	var src, dst netip.Addr
	switch h := f.headers[f.l3:]; f.etherType {
	case etherIPv4:
		src, dst = netip.AddrFrom4([4]byte(h[12:])), netip.AddrFrom4([4]byte(h[16:]))
	case etherIPv6:
		src, dst = netip.AddrFrom16([16]byte(h[8:])), netip.AddrFrom16([16]byte(h[24:]))
	}
	if !src.IsValid() || src.Is4In6() || dst.Is4In6() {
		return e, false
	}
	h := f.headers[f.transport:]
	return endpoints{src.As16(), dst.As16(), binary.BigEndian.Uint16(h), binary.BigEndian.Uint16(h[2:])}, true
}

func (e *endpoints) reversed() endpoints {
	return endpoints{e.Peer, e.Local, e.PeerPort, e.LocalPort}
}

// segment returns the flags of a TCP segment whose header the server has; else 0.
func (f *frame) segment() (flags byte) {
	if f.protocol != protoTCP || f.fragment || !f.sound || f.transport+tcpBytes > min(f.end, len(f.headers)) {
		return 0
	}
	return f.headers[f.transport+13]
}

// dataBytes is what a TCP segment carries.
func (f *frame) dataBytes() int {
	return max(f.end-f.transport-int(f.headers[f.transport+12]>>4)*4, 0)
}

func (f *frame) turn(flags byte) turn {
	h := f.headers[f.transport:]
	t := turn{flags: flags, seq: binary.BigEndian.Uint32(h[4:]), ack: binary.BigEndian.Uint32(h[8:]), vlan: f.vlan}
	t.end = t.seq + uint32(f.dataBytes()) + 1
	return t
}

// note has the ports at both ends of a segment remember what it does to their
// connection. What an uplink carries for others is not its own.
func (c *Core) note(p, dst *port, f *frame, flags byte) {
	c.spend(p, workNote, workNote)
	e, ok := f.connection()
	if !ok {
		return
	}
	t := f.turn(flags)
	if f.src == p.cfg.MAC {
		p.row.sent(&e, &t, f.dst, p.owner)
	}
	back := e.reversed()
	if dst != nil && f.dst == dst.cfg.MAC {
		dst.row.came(&back, &t, f.src, dst.owner)
	}
	if flags&(tcpRST|tcpSYN) != 0 {
		p.fabric.told(f.src, &e)
		p.fabric.told(f.dst, &back)
	}
}

// sent notes a segment of the port's own. A SYN that answers is nothing without the
// SYN that it answers.
func (r *row) sent(e *endpoints, t *turn, to network.MAC, o *owner) {
	c := r.find(e)
	switch {
	case t.flags&tcpRST != 0:
		c.forget()
	case t.flags&(tcpSYN|tcpACK) == tcpSYN:
		if c == nil || c.State&answered == 0 || c.Seq != t.seq {
			r.begin(c, e, connection{PeerMAC: to, VLAN: t.vlan, Seq: t.seq, State: asked}, o)
		}
	case t.flags&tcpSYN != 0:
		if c != nil && c.State&(wanted|answered) != 0 && c.PeerMAC == to {
			c.Seq, c.PeerSeq = t.seq, t.ack-1
			c.State = c.State&^(ended|peerEnded) | answered
		}
	case c != nil:
		c.End = t.end
		c.finish(ended)
	}
}

// came notes a segment of a peer's.
func (r *row) came(e *endpoints, t *turn, from network.MAC, o *owner) {
	c := r.find(e)
	switch {
	case c == nil || c.State&(asked|answered) == 0:
		if t.flags&(tcpSYN|tcpACK|tcpRST) == tcpSYN {
			r.begin(c, e, connection{PeerMAC: from, VLAN: t.vlan, PeerSeq: t.seq, State: wanted}, o)
		}
	case c.PeerMAC != from:
	case t.flags&tcpRST != 0:
		c.forget()
	case t.flags&tcpSYN != 0:
		if c.State&answered == 0 && (t.flags&tcpACK == 0 || t.ack == c.Seq+1) {
			c.PeerSeq = t.seq
			c.State |= answered
		}
	default:
		c.finish(peerEnded)
	}
}

// begin writes a connection to its place, or to a new one; its state last, so that it
// is never seen with the fields of another.
func (r *row) begin(c *connection, e *endpoints, as connection, o *owner) {
	if c == nil {
		c = r.enter(e, as.PeerMAC)
	}
	crashpoint.Here()
	c.State = 0
	crashpoint.Here()
	o.Begun++
	as.endpoints, as.Age = *e, o.Begun
	begun := as.State
	as.State = 0
	*c = as
	crashpoint.Here()
	c.State = begun
}

// finish notes a FIN; after both there is nobody to tell.
func (c *connection) finish(end state) {
	if c.State |= end; c.State&(ended|peerEnded) == ended|peerEnded {
		c.forget()
	}
}

func (c *connection) forget() {
	if c != nil {
		c.State = 0
	}
}
