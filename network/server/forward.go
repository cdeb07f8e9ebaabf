package server

import "github.com/quintet-os/quintet/network"

// forward delivers the frame that p has taken, or counts why not. It returns
// false if the frame must wait: p is held then.
func (c *Core) forward(p *port) (done bool) {
	f := &c.frame
	f.load(p.mem, &p.next)
	reason, ok := c.admit(p, f)
	if !ok {
		p.drop(f, reason)
		return true
	}
	var dst *port
	if !f.dst.Group() {
		dst = p.fabric.find(f.dst, f.vlan, c.now)
	}
	if dst != nil {
		if reason, ok := reachable(p, dst, f); !ok {
			p.drop(f, reason)
			return true
		}
		if !dst.room() && c.holdFor(p, dst) {
			return false
		}
	}
	if until, ok := p.rate.take(c.now, int64(f.length)); !ok {
		c.hold(p, hold{until: until})
		return false
	}
	p.sent(f)
	if p.tap != nil {
		p.tap.record(c.now, f.headers, f.payload, f.offload)
	}
	if p.cfg.Uplink && !p.fabric.learn(p, f.src, f.vlan, c.now) {
		p.counters.LearnRefused++
	}
	if dst != nil {
		p.talks.note(dst, c.now)
		c.deliver(dst, f, network.DropFull)
		return true
	}
	for _, q := range p.fabric.ports {
		if q == p {
			continue
		}
		if _, ok := reachable(p, q, f); ok {
			c.deliver(q, f, network.DropFlood)
		}
	}
	return true
}

// admit checks that p may send f.
func (c *Core) admit(p *port, f *frame) (network.Drop, bool) {
	if reason, ok := f.parseLink(); !ok {
		return reason, false
	}
	if reserved(f.dst) {
		return network.DropReserved, false
	}
	if reason, ok := p.classify(f); !ok {
		return reason, false
	}
	f.parseNetwork()
	// What an uplink brings in may be meant for a stack that answers malformed
	// packets, unless somebody is to rely on its headers.
	if f.sound && !f.checkOffload() || !f.sound && (!p.cfg.Uplink || f.offload != (network.Offload{})) {
		return network.DropMalformed, false
	}
	if !f.fits(p.cfg.MTU) {
		return network.DropLong, false
	}
	return p.guard(f)
}

// classify finds the VLAN of a frame.
func (p *port) classify(f *frame) (network.Drop, bool) {
	f.vlan = p.cfg.VLAN
	if vid := f.tag & vidMask; vid != 0 {
		if yes, tagged := p.carries(vid); !yes || !tagged {
			return network.DropVLAN, false
		}
		f.vlan = vid
	}
	return 0, true
}

// reachable tells whether a frame from p may leave through q.
func reachable(p, q *port, f *frame) (network.Drop, bool) {
	if p == q {
		return network.DropReserved, false
	}
	if !p.meets(q) {
		return network.DropIsolated, false
	}
	if yes, _ := q.carries(f.vlan); !yes {
		return network.DropVLAN, false
	}
	if !f.fits(q.cfg.MTU) {
		return network.DropLong, false
	}
	return 0, true
}

// deliver copies f to q, or counts that there is no room.
func (c *Core) deliver(q *port, f *frame, otherwise network.Drop) {
	c.copies--
	if q.lost() || !q.room() {
		q.counters.Drops[otherwise]++
		return
	}
	_, tagged := q.carries(f.vlan)
	headers, offload := f.render(tagged)
	if q.tap != nil {
		q.tap.record(c.now, headers, f.payload, offload)
	}
	if q.filled == 0 {
		c.dirty = append(c.dirty, q)
	}
	q.deliver(headers, f.payload, offload)
}

func (p *port) sent(f *frame) {
	p.counters.Sent++
	p.counters.SentBytes += uint64(f.length)
}

func (p *port) drop(f *frame, reason network.Drop) {
	p.sent(f)
	p.counters.Drops[reason]++
}
