package network

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

const (
	// PortsMax bounds the ports of one server.
	PortsMax = 1024
	// AddressesMax bounds the addresses of one port.
	AddressesMax = 64
	// VLANMax is the highest VLAN of IEEE 802.1Q; 0 stands for frames without a tag.
	VLANMax = 4094
	// MTUMin and MTUMax bound the MTU of a network: the smallest that IPv6 allows,
	// and the largest that a TAP interface of Linux takes.
	MTUMin     = 1280
	MTUMax     = 65521
	MTUDefault = 1500
	// RateMin is the lowest rate limit, bytes a second.
	RateMin = 1 << 10
)

// PortConfig says what a port is and what it may do. The supervisor writes it;
// the server enforces it.
type PortConfig struct {
	// Network separates broadcast domains: ports of different networks never
	// exchange frames.
	Network int `json:"network"`
	MTU     int `json:"mtu"`
	// MAC and Addresses are the port's own. A port that is not an uplink sends from
	// these only, and from the link-local IPv6 address of its MAC. MAC addresses are
	// unique in a network, and so are Addresses.
	MAC       MAC          `json:"mac"`
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// Uplink ports may send from any address; the server learns which MAC addresses
	// are behind them.
	Uplink bool `json:"uplink,omitempty"`
	// Group isolates: two ports exchange frames if their groups are equal or one of
	// them is 0.
	Group int `json:"group,omitempty"`
	// VLAN is that of untagged frames. Frames of the VLANs in Trunk carry a tag on
	// this port; an access port has none.
	VLAN  uint16   `json:"vlan,omitempty"`
	Trunk []uint16 `json:"trunk,omitempty"`
	// Rate bounds what the port sends, in bytes a second, with bursts of RateBurst;
	// 0 means no bound. The sender is held up, nothing is dropped.
	Rate int64 `json:"rate,omitempty"`
	// Row is the port's in the tables that the supervisor keeps, below PortsMax, and
	// no other port's of the server.
	Row int `json:"row,omitempty"`
}

// RateBurst is how much a rate-limited port may send at once: what it may send
// in 10 ms, and at least one super-segment.
func (c *PortConfig) RateBurst() int64 {
	return max(c.Rate*int64(10*time.Millisecond)/int64(time.Second), FrameBytesMax)
}

// Check returns a KindConfig or KindLimit error that names the field.
func (c *PortConfig) Check() error {
	bad := func(format string, args ...any) error {
		return &Error{Kind: KindConfig, Detail: fmt.Sprintf(format, args...)}
	}
	switch {
	case c.MTU < MTUMin || c.MTU > MTUMax:
		return bad("an MTU of %d; allowed are %d to %d", c.MTU, MTUMin, MTUMax)
	case c.MAC.Group() || c.MAC == MAC{}:
		return bad("%v cannot be a port's own MAC", c.MAC)
	case len(c.Addresses) > AddressesMax:
		return &Error{Kind: KindLimit, Detail: fmt.Sprintf("%d addresses on a port; allowed are %d", len(c.Addresses), AddressesMax)}
	case c.VLAN > VLANMax:
		return bad("VLAN %d; allowed are 0 to %d", c.VLAN, VLANMax)
	case c.Rate != 0 && c.Rate < RateMin:
		return bad("a rate of %d bytes a second; the least is %d", c.Rate, RateMin)
	case c.Row < 0 || c.Row >= PortsMax:
		return bad("row %d of counters; there are %d", c.Row, PortsMax)
	case c.Group < 0:
		return bad("group %d is negative", c.Group)
	}
	for i, v := range c.Trunk {
		if v == 0 || v > VLANMax || v == c.VLAN || slices.Contains(c.Trunk[:i], v) {
			return bad("trunk VLAN %d is 0, beyond %d, untagged too, or there twice", v, VLANMax)
		}
	}
	for i, a := range c.Addresses {
		if !a.IsValid() || a.IsMulticast() || a.IsUnspecified() || a.Zone() != "" || a.Is4In6() || slices.Contains(c.Addresses[:i], a) {
			return bad("%v is no unicast address, has a zone, or is there twice", a)
		}
	}
	return nil
}
