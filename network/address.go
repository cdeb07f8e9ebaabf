package network

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
)

// MAC is an Ethernet address.
type MAC [6]byte

// Broadcast reaches every port.
var Broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// ParseMAC reads an address in any notation of net.ParseMAC. Errors are
// KindAddress.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != len(MAC{}) {
		return MAC{}, &Error{Kind: KindAddress, Detail: fmt.Sprintf("%q is no Ethernet address; write it like 02:00:00:00:00:01", s)}
	}
	return MAC(hw), nil
}

func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// Group tells whether m is a multicast address or broadcast.
func (m MAC) Group() bool { return m[0]&1 != 0 }

// LinkLocal is the IPv6 address that an interface with this MAC gives itself
// (RFC 4291, appendix A).
func (m MAC) LinkLocal() netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

// MarshalJSON writes the address as text.
func (m MAC) MarshalJSON() ([]byte, error) { return json.Marshal(m.String()) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (m *MAC) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	var err error
	*m, err = ParseMAC(s)
	return err
}
