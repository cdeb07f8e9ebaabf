package server

import "github.com/quintet-os/quintet/network"

// forward delivers the frame that p has taken, or counts why not. It returns
// false if the frame must wait: p is held then.
func (c *Core) forward(p *port) (done bool) {
	f := &c.frame
	f.load(p.mem, &p.next)
	c.spend(p, workFrame, workFrame)
	reason, ok := c.admit(p, f)
	if !ok {
		c.refuse(p, f, reason)
		if !p.cfg.Uplink { // what comes in by one is not its own
			p.offences.offended(c.now)
		}
		return true
	}
	var dst *port
	if !f.dst.Group() {
		if dst = p.fabric.find(f.dst, f.vlan, c.now); dst == nil {
			if c.answer(p, f) {
				return true
			}
			dst = p.fabric.only(p)
		}
	}
	if dst != nil {
		if reason, ok := reachable(p, dst, f); !ok {
			p.learn(f.src, f.vlan, c.now)
			c.refuse(p, f, reason)
			return true
		}
		if !dst.room() && c.holdFor(p, dst) {
			return false
		}
	} else if until, ok := p.floods.ready(c.now, 1); !ok {
		if !p.cfg.Uplink {
			c.hold(p, hold{until: until})
			return false
		}
		// What waits behind it is not the flooder's only.
		p.learn(f.src, f.vlan, c.now)
		c.refuse(p, f, network.DropFlood)
		return true
	}
	if until, ok := p.rate.ready(c.now, int64(f.length)); !ok {
		c.hold(p, hold{until: until})
		return false
	}
	p.rate.pay(int64(f.length))
	p.sent(f)
	if p.tap != nil {
		p.tap.record(c.now, f.headers, f.payload, f.offload)
	}
	p.learn(f.src, f.vlan, c.now)
	if flags := f.segment(); flags&tcpTurns != 0 && !f.dst.Group() {
		c.note(p, dst, f, flags)
	}
	if dst != nil {
		p.talks.note(dst, c.now)
		work := c.deliver(dst, f, network.DropFull)
		c.spend(p, work, work)
		return true
	}
	p.floods.pay(1)
	whom := p.fabric.ports
	if !f.dst.Group() {
		whom = p.fabric.uplinks
	}
	for _, q := range whom {
		if _, ok := reachable(p, q, f); ok {
			work := c.deliver(q, f, network.DropFlood)
			c.spend(p, work, work*priceFlood)
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
	// packets, unless somebody is to rely on its headers, or what it claims cannot be
	// seen here.
	malformed := !f.sound && (!p.cfg.Uplink || f.etherType != etherIPv4 || f.offload != (network.Offload{}))
	if malformed || f.sound && !f.checkOffload() {
		return network.DropMalformed, false
	}
	if !f.fits(p.cfg.MTU) {
		return network.DropLong, false
	}
	return p.guard(f)
}

// classify finds the VLAN of a frame. A second tag would hide what is behind it from
// the guard, and some stacks look through it.
func (p *port) classify(f *frame) (network.Drop, bool) {
	f.vlan = p.cfg.VLAN
	if f.etherType == etherVLAN || f.etherType == etherProvider {
		return network.DropVLAN, false
	}
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

// deliver copies f to q, or counts that there is no room. It returns the work.
func (c *Core) deliver(q *port, f *frame, otherwise network.Drop) (work int) {
	if q.lost() || !q.room() {
		q.counters.Drops[otherwise]++
		return workCopy
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
	return copyWork(f)
}

func (p *port) sent(f *frame) {
	p.counters.Sent++
	p.counters.SentBytes += uint64(f.length)
}

// refuse counts a frame that goes nowhere.
func (c *Core) refuse(p *port, f *frame, reason network.Drop) {
	c.spend(p, 0, priceBad)
	p.sent(f)
	p.counters.Drops[reason]++
}
