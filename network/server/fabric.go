package server

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/quintet-os/quintet/network"
)

const (
	// learnedMax bounds the addresses a network has learned, learnedPortMax those
	// behind one uplink.
	learnedMax     = 8192
	learnedPortMax = 4096
	// learnedAge is how long an address is remembered after its last frame: the
	// default of IEEE 802.1Q, 8.8.3.
	learnedAge = 300 * time.Second
	// learnedRefresh is how old an entry may be before a frame renews it.
	learnedRefresh = time.Second
	// sweepInterval is the least time between two searches for expired entries in
	// a full table.
	sweepInterval = time.Second
)

// place is a MAC address in a VLAN: 48 and 12 bits.
type place uint64

func placeOf(m network.MAC, vlan uint16) place {
	return place(uint64(m[0])<<56 | uint64(m[1])<<48 | uint64(m[2])<<40 | uint64(m[3])<<32 | uint64(m[4])<<24 | uint64(m[5])<<16 | uint64(vlan))
}

type entry struct {
	port *port
	seen time.Duration
}

// fabric is one network: its ports and where addresses are.
type fabric struct {
	ports     []*port
	uplinks   []*port               // those of ports
	own       map[network.MAC]*port // registered by ports: never aged, never moved
	addresses map[netip.Addr]*port
	learned   map[place]entry
	swept     time.Duration
	departed  map[network.MAC]*departed
}

func newFabric() *fabric {
	return &fabric{own: make(map[network.MAC]*port), addresses: make(map[netip.Addr]*port), learned: make(map[place]entry),
		departed: make(map[network.MAC]*departed)}
}

// add registers a port and its addresses, or returns a KindConflict error and
// changes nothing.
func (f *fabric) add(p *port) error {
	conflict := func(what any, q *port) error {
		return &network.Error{Kind: network.KindConflict, Detail: fmt.Sprintf("%v is that of port %d", what, q.session.ID)}
	}
	if q := f.own[p.cfg.MAC]; q != nil {
		return conflict(p.cfg.MAC, q)
	}
	for _, a := range p.own {
		if q := f.addresses[a]; q != nil {
			return conflict(a, q)
		}
	}
	f.own[p.cfg.MAC] = p
	for _, a := range p.own {
		f.addresses[a] = p
	}
	f.ports = append(f.ports, p)
	if p.cfg.Uplink {
		f.uplinks = append(f.uplinks, p)
	}
	return nil
}

func (f *fabric) remove(p *port) {
	delete(f.own, p.cfg.MAC)
	for _, a := range p.own {
		delete(f.addresses, a)
	}
	for at, e := range f.learned {
		if e.port == p {
			delete(f.learned, at)
		}
	}
	isP := func(q *port) bool { return q == p }
	f.ports, f.uplinks = slices.DeleteFunc(f.ports, isP), slices.DeleteFunc(f.uplinks, isP)
	for _, q := range f.ports {
		if q.talks.to == p {
			q.talks.to = nil
		}
	}
}

// only returns the one port behind which an address that is unknown can be, as seen
// from p, or nil if several come into question. All ports but uplinks have registered
// their addresses, so it is behind an uplink.
func (f *fabric) only(p *port) *port {
	var only *port
	for _, q := range f.uplinks {
		switch {
		case q == p:
		case only != nil:
			return nil
		default:
			only = q
		}
	}
	return only
}

// find returns the port behind which an address is, or nil if nobody knows.
func (f *fabric) find(m network.MAC, vlan uint16, now time.Duration) *port {
	if p := f.own[m]; p != nil {
		return p
	}
	e, ok := f.learned[placeOf(m, vlan)]
	if !ok {
		return nil
	}
	if now-e.seen > learnedAge {
		f.forget(placeOf(m, vlan), e)
		return nil
	}
	return e.port
}

// learn notes that an address is behind p, if p is an uplink.
func (p *port) learn(m network.MAC, vlan uint16, now time.Duration) {
	if p.cfg.Uplink && !p.fabric.learn(p, m, vlan, now) {
		p.counters.LearnRefused++
	}
}

// learn notes that an address is behind an uplink, and returns false if there is
// no room to remember it: it is unknown then, wherever it was before.
func (f *fabric) learn(p *port, m network.MAC, vlan uint16, now time.Duration) bool {
	at := placeOf(m, vlan)
	e, ok := f.learned[at]
	if ok && e.port == p {
		if now-e.seen > learnedRefresh {
			f.learned[at] = entry{p, now}
		}
		return true
	}
	if ok {
		f.forget(at, e)
	}
	if p.learned >= learnedPortMax || len(f.learned) >= learnedMax {
		if now-f.swept < sweepInterval {
			return false
		}
		f.sweep(now)
		if p.learned >= learnedPortMax || len(f.learned) >= learnedMax {
			return false
		}
	}
	p.learned++
	f.learned[at] = entry{p, now}
	return true
}

func (f *fabric) sweep(now time.Duration) {
	f.swept = now
	for at, e := range f.learned {
		if now-e.seen > learnedAge {
			f.forget(at, e)
		}
	}
}

func (f *fabric) forget(at place, e entry) {
	delete(f.learned, at)
	e.port.learned--
}
