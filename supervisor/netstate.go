package supervisor

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/supervisor/topology"
)

// NetworkState is the state of one network.
type NetworkState struct {
	Name    string         `json:"name"`
	Server  string         `json:"server"`
	MTU     int            `json:"mtu"`
	Subnets []netip.Prefix `json:"subnets,omitempty"`
	Ports   []PortState    `json:"ports"`
}

// PortState is the state of one port. Counters go on over all deaths of its server,
// each of which loses at most what was counted in 20 ms.
type PortState struct {
	Name         string            `json:"name"` // of the application or uplink
	PID          int               `json:"pid"`
	Uplink       bool              `json:"uplink,omitempty"`
	MAC          network.MAC       `json:"mac"`
	Addresses    []netip.Addr      `json:"addresses,omitempty"`
	Sent         uint64            `json:"sent_frames"`
	SentB        uint64            `json:"sent_bytes"`
	Received     uint64            `json:"received_frames"`
	ReceivedB    uint64            `json:"received_bytes"`
	Held         uint64            `json:"held_frames"`
	Drops        map[string]uint64 `json:"drops,omitempty"` // by reason
	LearnRefused uint64            `json:"learn_refused,omitempty"`
	Failed       string            `json:"failed,omitempty"`
}

// UplinkState is the state of one uplink.
type UplinkState struct {
	Name      string              `json:"name"`
	Network   string              `json:"network"`
	Kind      topology.UplinkKind `json:"kind"`
	Interface string              `json:"interface,omitempty"`
	PID       int                 `json:"pid,omitempty"`
	Serving   bool                `json:"serving"`
	Trouble   string              `json:"trouble,omitempty"` // with the interface
	Deaths    uint64              `json:"deaths"`
	LastDeath string              `json:"last_death,omitempty"`
	Degraded  []string            `json:"sandbox_degraded,omitempty"`
}

func (f *fabric) state() NetworkState {
	state := NetworkState{Name: f.Name, Server: f.server.config.Name, MTU: f.MTU, Subnets: f.Subnets, Ports: []PortState{}}
	for _, s := range f.server.sessions {
		p := s.port()
		if p == nil || p.fabric != f {
			continue
		}
		c := f.of.counters.Load(p.config.Row)
		each := PortState{Name: p.name, PID: s.app.peer.PID, Uplink: p.config.Uplink,
			MAC: p.config.MAC, Addresses: p.config.Addresses, Sent: c.Sent, SentB: c.SentBytes,
			Received: c.Received, ReceivedB: c.ReceivedBytes, Held: c.Held, LearnRefused: c.LearnRefused, Failed: s.failed}
		for reason, n := range c.Drops {
			if n > 0 {
				if each.Drops == nil {
					each.Drops = make(map[string]uint64)
				}
				each.Drops[network.Drop(reason).String()] = n
			}
		}
		state.Ports = append(state.Ports, each)
	}
	slices.SortFunc(state.Ports, func(a, b PortState) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return a.PID - b.PID
	})
	return state
}

func (u *uplink) state() UplinkState {
	state := UplinkState{Name: u.Name, Network: u.Network, Kind: u.Kind, Interface: u.Interface,
		Serving: u.serving(), Trouble: u.trouble, Deaths: u.deaths, LastDeath: u.lastDeath, Degraded: u.degraded}
	if u.box != nil {
		state.PID = u.box.Pid
	}
	return state
}
