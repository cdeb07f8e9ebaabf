package server

import (
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/quintet-os/quintet/network"
)

const (
	// departedFor is how long segments for a port that has left are answered with a
	// reset: as long as Linux keeps a connection whose process has gone.
	departedFor = time.Minute
	// departedMax bounds the ports that have left a network and are remembered.
	departedMax = 256
	// untoldMax bounds the connections of all those that have left lately; keep-alive
	// tells the peers of the others.
	untoldMax = 32 << 10

	// A peer is asked probesMax times, after probeAfter and then twice as long each
	// time. Linux and gVisor answer such a question every 500 ms only.
	probesMax  = 5
	probeAfter = 600 * time.Millisecond
	// probePoll is how often a peer that has no room for the question is looked at, for
	// tellMax in all.
	probePoll = 10 * time.Millisecond
	tellMax   = 30 * time.Second

	// probesStep and looksStep bound what is sent and looked at in one step.
	probesStep = 64
	looksStep  = 1024
)

// departed is a port that has left. Its peers' connections are to nobody.
type departed struct {
	port  *port         // as it was; nothing of it is used but what it might send
	begun time.Duration // when it left
	// untold are its connections; index says where each is.
	untold []untold
	index  map[endpoints]int
	next   int           // to be looked at
	due    time.Duration // when the first of the rest is
	row    int           // where untold are kept, if the owner is still this
	owner  uint64
}

// untold is a connection whose peer has to be asked for its sequence numbers, so that
// they can be answered with a reset that it accepts (RFC 9293, 3.10.7.4).
type untold struct {
	connection
	probes int
	due    time.Duration
	told   bool
}

// enroll gives a port its row of connections. A row that has another owner is that of
// a port that left while no server was there, or that has not been told of to all.
func (c *Core) enroll(p *port) {
	i := p.cfg.Row
	o := &c.connections.owners[i]
	c.rows[i] = p
	if o.Session != p.session.ID {
		c.inherit(i)
		c.connections.clear(i)
		*o = owner{Session: p.session.ID, Network: int64(p.cfg.Network), Group: int64(p.cfg.Group), MAC: p.cfg.MAC, Uplink: p.cfg.Uplink}
	}
	p.row, p.owner = c.connections.row(i), o
}

func (k *Connections) clear(i int) {
	if k.owners[i].Begun != 0 { // else nothing of it is in use
		*k.row(i) = row{}
	}
	k.owners[i] = owner{}
}

// inherit takes over the departed port of a row whose owner is not there.
func (c *Core) inherit(i int) {
	o := &c.connections.owners[i]
	f := c.fabrics[int(o.Network)]
	if o.Session == 0 || f == nil || c.departing(o.Session) {
		return
	}
	p := &port{fabric: f, gone: true, cfg: network.PortConfig{Network: int(o.Network), MTU: network.MTUMax, MAC: o.MAC, Group: int(o.Group),
		Uplink: o.Uplink, Row: i}, row: c.connections.row(i), owner: o}
	c.mourn(p, o.Session)
}

func (c *Core) departing(session uint64) bool {
	for _, d := range c.untold {
		if d.owner == session {
			return true
		}
	}
	return false
}

// Inherit takes over what the table kept of ports that left while no server was there.
// It is called once those that are there have been added.
func (c *Core) Inherit() {
	for i, p := range c.rows {
		if p == nil {
			c.inherit(i)
		}
	}
}

// depart remembers a port that is leaving.
func (c *Core) depart(p *port) {
	if len(p.fabric.ports) > 0 {
		c.mourn(p, p.session.ID)
	} else {
		c.connections.clear(p.cfg.Row)
	}
}

// mourn copies the connections of a port that has left.
func (c *Core) mourn(p *port, session uint64) {
	f := p.fabric
	d := &departed{port: p, begun: c.now, index: make(map[endpoints]int), row: p.cfg.Row, owner: session}
	inherited := p.own == nil
	if p.owner.Begun != 0 {
		for i := range p.row {
			for j := range p.row[i] {
				n := &p.row[i][j]
				if n.State&answered == 0 || n.VLAN > network.VLANMax {
					continue // the latter if a server has gone mad
				}
				c.add(d, n)
				if inherited { // what it had is what it used
					p.own = append(p.own, netip.AddrFrom16(n.Local).Unmap())
					p.trunk[n.VLAN>>6] |= 1 << (n.VLAN & 63)
				}
			}
		}
	}
	if old := f.departed[p.cfg.MAC]; old != nil {
		c.forget(old)
		for i := range old.untold {
			if u := &old.untold[i]; !u.over() && d.find(&u.endpoints) == nil {
				c.add(d, &u.connection)
			}
		}
	}
	c.expire(f)
	f.departed[p.cfg.MAC] = d
	c.untold = append(c.untold, d)
	c.tellAt = 0
}

func (c *Core) add(d *departed, n *connection) {
	if c.untolds < untoldMax {
		c.untolds++
		d.index[n.endpoints] = len(d.untold)
		d.untold = append(d.untold, untold{connection: *n})
	}
}

// forget ends what is remembered of a port that has left.
func (c *Core) forget(d *departed) {
	delete(d.port.fabric.departed, d.port.cfg.MAC)
	c.untolds -= len(d.untold)
	c.finish(d)
}

// finish ends the telling: nobody is left to be told, or it is too late.
func (c *Core) finish(d *departed) {
	i := slices.Index(c.untold, d)
	if i < 0 {
		return
	}
	c.untold = slices.Delete(c.untold, i, i+1)
	if c.connections.owners[d.row].Session == d.owner {
		c.connections.clear(d.row)
	}
}

// expire makes room for another port that has left a network.
func (c *Core) expire(f *fabric) {
	var oldest *departed
	for _, d := range f.departed {
		if c.now-d.begun > departedFor {
			c.forget(d)
		} else if oldest == nil || d.begun < oldest.begun {
			oldest = d
		}
	}
	if len(f.departed) >= departedMax {
		c.forget(oldest)
	}
}

// told notes that a peer has been reset, or has a new connection, where it is one of a
// port that has left.
func (f *fabric) told(of network.MAC, e *endpoints) {
	if d := f.departed[of]; d != nil {
		if i, ok := d.index[*e]; ok {
			d.untold[i].told = true
		}
	}
}

// tell asks the peers of ports that have left. Their answers come to nobody, and are
// answered by the server; or to a successor with the same address, which does so
// itself.
func (c *Core) tell() (worked bool) {
	if len(c.untold) == 0 || c.now < c.tellAt {
		return false
	}
	looks, probes := looksStep, probesStep
	c.tellAt = math.MaxInt64
	for i := 0; i < len(c.untold) && looks > 0 && probes > 0; {
		d := c.untold[i]
		if c.now < d.due {
			c.tellAt = min(c.tellAt, d.due)
			i++
			continue
		}
		for ; d.next < len(d.untold) && looks > 0 && probes > 0; d.next++ {
			looks--
			u := &d.untold[d.next]
			if u.over() || u.due > c.now {
				continue
			}
			if c.probe(d, &u.connection, u.probes) {
				probes--
				u.due = c.now + probeAfter<<u.probes
				u.probes++
			} else {
				u.due = c.now + probePoll
			}
		}
		if d.next < len(d.untold) {
			break
		}
		if d.settle(c.now) {
			c.tellAt = min(c.tellAt, d.due)
			i++
		} else {
			c.finish(d)
		}
	}
	if looks == 0 || probes == 0 {
		c.tellAt = 0 // the rest in the next step
	}
	c.publish()
	return true
}

func (u *untold) over() bool { return u.told || u.probes == probesMax }

// settle finds when the next is due; false if there is none.
func (d *departed) settle(now time.Duration) bool {
	d.next, d.due = 0, math.MaxInt64
	for i := range d.untold {
		if u := &d.untold[i]; !u.over() {
			d.due = min(d.due, u.due)
		}
	}
	return d.due < math.MaxInt64 && now-d.begun < tellMax
}
