package networktest

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/quintet-os/quintet/network"
)

// Host is the configuration of an ordinary port: number n of the network has the
// MAC 02:00:00:00:hi:lo and the addresses 10.0.hi.lo and fd00::n.
func Host(n int) network.PortConfig {
	hi, lo := byte(n>>8), byte(n)
	return network.PortConfig{
		MTU: network.MTUDefault, MAC: network.MAC{2, 0, 0, 0, hi, lo},
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, hi, lo}), netip.MustParseAddr(fmt.Sprintf("fd00::%x", n))},
	}
}

// IPv4 returns an IPv4 packet with that payload in an Ethernet frame. The
// checksum of the header is left zero: a switch does not look at it.
func IPv4(dst, src network.MAC, from, to netip.Addr, protocol byte, payload []byte) []byte {
	f := ethernet(dst, src, 0x0800)
	f = append(f, 0x45, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(20+len(payload)))
	f = append(f, 0, 0, 0, 0, 64, protocol, 0, 0)
	f = append(f, from.AsSlice()...)
	f = append(f, to.AsSlice()...)
	return append(f, payload...)
}

// IPv6 returns an IPv6 packet with that payload in an Ethernet frame.
func IPv6(dst, src network.MAC, from, to netip.Addr, protocol byte, payload []byte) []byte {
	f := ethernet(dst, src, 0x86dd)
	f = append(f, 0x60, 0, 0, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(len(payload)))
	f = append(f, protocol, 64)
	f = append(f, from.AsSlice()...)
	f = append(f, to.AsSlice()...)
	return append(f, payload...)
}

// ARP returns an ARP packet: op 1 asks, op 2 answers.
func ARP(dst, src network.MAC, op byte, sender network.MAC, from netip.Addr, target network.MAC, to netip.Addr) []byte {
	f := ethernet(dst, src, 0x0806)
	f = append(f, 0, 1, 8, 0, 6, 4, 0, op)
	f = append(f, sender[:]...)
	f = append(f, from.AsSlice()...)
	f = append(f, target[:]...)
	return append(f, to.AsSlice()...)
}

// Advert returns the payload of a neighbour advertisement: target is at mac.
func Advert(target netip.Addr, mac network.MAC) []byte {
	m := append([]byte{136, 0, 0, 0, 0x20, 0, 0, 0}, target.AsSlice()...)
	return append(append(m, 2, 1), mac[:]...)
}

// Tagged returns frame with an 802.1Q tag.
func Tagged(frame []byte, vlan uint16) []byte {
	f := append(append([]byte(nil), frame[:12]...), 0x81, 0)
	f = binary.BigEndian.AppendUint16(f, vlan)
	return append(f, frame[12:]...)
}

func ethernet(dst, src network.MAC, etherType uint16) []byte {
	f := append(append(make([]byte, 0, 128), dst[:]...), src[:]...)
	return binary.BigEndian.AppendUint16(f, etherType)
}
