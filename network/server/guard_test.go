package server_test

import (
	"net/netip"
	"testing"

	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/networktest"
)

func TestPortsSpeakForThemselvesOnly(t *testing.T) {
	a, b := networktest.Host(1), networktest.Host(2)
	v4, v6, other4, other6 := a.Addresses[0], a.Addresses[1], b.Addresses[0], b.Addresses[1]
	none4, none6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	all6 := netip.MustParseAddr("ff02::1")
	group := network.MAC{0x33, 0x33, 0, 0, 0, 1}
	body := make([]byte, 24)
	solicit := func(option byte, mac network.MAC) []byte {
		m := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, other6.AsSlice()...)
		if option != 0 {
			m = append(append(m, option, 1), mac[:]...)
		}
		return m
	}
	fragmented := func(icmp []byte) []byte { return append([]byte{58, 0, 0, 1, 0, 0, 0, 1}, icmp...) }
	const udp, icmp6 = 17, 58

	cases := []struct {
		name  string
		frame []byte
		drop  network.Drop // DropsEnd: it passes
	}{
		{"own IPv4", networktest.IPv4(b.MAC, a.MAC, v4, other4, udp, body), network.DropsEnd},
		{"own IPv6", networktest.IPv6(b.MAC, a.MAC, v6, other6, udp, body), network.DropsEnd},
		{"own link-local", networktest.IPv6(b.MAC, a.MAC, a.MAC.LinkLocal(), other6, udp, body), network.DropsEnd},
		{"another MAC", networktest.IPv4(b.MAC, b.MAC, v4, other4, udp, body), network.DropSource},
		{"a group as source", networktest.IPv4(b.MAC, network.Broadcast, v4, other4, udp, body), network.DropSource},
		{"another IPv4", networktest.IPv4(b.MAC, a.MAC, other4, v4, udp, body), network.DropAddress},
		{"no IPv4", networktest.IPv4(b.MAC, a.MAC, none4, other4, udp, body), network.DropAddress},
		{"another IPv6", networktest.IPv6(b.MAC, a.MAC, other6, v6, udp, body), network.DropAddress},
		{"no IPv6", networktest.IPv6(group, a.MAC, none6, all6, udp, body), network.DropAddress},

		{"ARP question", networktest.ARP(network.Broadcast, a.MAC, 1, a.MAC, v4, network.MAC{}, other4), network.DropsEnd},
		{"ARP probe", networktest.ARP(network.Broadcast, a.MAC, 1, a.MAC, none4, network.MAC{}, v4), network.DropsEnd},
		{"ARP reply", networktest.ARP(b.MAC, a.MAC, 2, a.MAC, v4, b.MAC, other4), network.DropsEnd},
		{"ARP reply for another", networktest.ARP(b.MAC, a.MAC, 2, a.MAC, other4, b.MAC, other4), network.DropAddress},
		{"ARP with another MAC", networktest.ARP(b.MAC, a.MAC, 2, b.MAC, v4, b.MAC, other4), network.DropAddress},

		{"solicitation", networktest.IPv6(group, a.MAC, v6, all6, icmp6, solicit(1, a.MAC)), network.DropsEnd},
		{"duplicate detection", networktest.IPv6(group, a.MAC, none6, all6, icmp6, solicit(0, a.MAC)), network.DropsEnd},
		{"solicitation with another MAC", networktest.IPv6(group, a.MAC, v6, all6, icmp6, solicit(1, b.MAC)), network.DropAddress},
		{"detection with a MAC", networktest.IPv6(group, a.MAC, none6, all6, icmp6, solicit(1, a.MAC)), network.DropAddress},
		{"solicitation with a broken option", networktest.IPv6(group, a.MAC, v6, all6, icmp6, append(solicit(0, a.MAC), 1, 0, 0, 0, 0, 0, 0, 0)), network.DropMalformed},
		{"advertisement", networktest.IPv6(b.MAC, a.MAC, v6, other6, icmp6, networktest.Advert(v6, a.MAC)), network.DropsEnd},
		{"advertisement for another", networktest.IPv6(b.MAC, a.MAC, v6, other6, icmp6, networktest.Advert(other6, a.MAC)), network.DropAddress},
		{"advertisement with another MAC", networktest.IPv6(b.MAC, a.MAC, v6, other6, icmp6, networktest.Advert(v6, b.MAC)), network.DropAddress},
		{"fragmented advertisement", networktest.IPv6(b.MAC, a.MAC, v6, other6, 44, fragmented(networktest.Advert(v6, a.MAC))), network.DropMalformed},
		{"advertisement behind an option", networktest.IPv6(b.MAC, a.MAC, v6, other6, 60, append([]byte{58, 0, 1, 4, 0, 0, 0, 0}, networktest.Advert(other6, a.MAC)...)), network.DropAddress},
		{"router advertisement", networktest.IPv6(group, a.MAC, a.MAC.LinkLocal(), all6, icmp6, append([]byte{134}, make([]byte, 15)...)), network.DropProtocol},
		{"redirect", networktest.IPv6(b.MAC, a.MAC, v6, other6, icmp6, append([]byte{137}, make([]byte, 39)...)), network.DropProtocol},

		{"another protocol", append(append(append([]byte{}, b.MAC[:]...), a.MAC[:]...), 0x88, 0xcc, 0, 0), network.DropProtocol},
		{"a header cut off", networktest.IPv4(b.MAC, a.MAC, v4, other4, udp, nil)[:30], network.DropMalformed},
		{"shorter than a header", []byte{1, 2, 3}, network.DropShort},
		{"longer than it is", networktest.IPv4(b.MAC, a.MAC, v4, other4, udp, body)[:40], network.DropMalformed},
		{"longer than the MTU", networktest.IPv4(b.MAC, a.MAC, v4, other4, udp, make([]byte, 1481)), network.DropLong},
		{"as long as the MTU", networktest.IPv4(b.MAC, a.MAC, v4, other4, udp, make([]byte, 1480)), network.DropsEnd},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			bench := newBench(t, a, b)
			from := bench.sides[0]
			from.send(c.frame)
			if c.drop == network.DropsEnd {
				bench.expect(c.frame, 1)
			} else {
				bench.expect(nil)
			}
			var want [network.DropsEnd]uint64
			if c.drop < network.DropsEnd {
				want[c.drop] = 1
			}
			if got := from.drops(); got != want {
				t.Errorf("drops %v, want %v", got, want)
			}
		})
	}
}

// behind puts headers with options, each of 8+8*more bytes, before an ICMPv6 message.
func behind(headers int, more byte, message []byte) (b []byte) {
	for i := range headers {
		next := byte(60)
		if i == headers-1 {
			next = 58
		}
		size := 8 + 8*int(more)
		option := append([]byte{next, more, 1, byte(min(size-4, 255))}, make([]byte, size-4)...)
		b = append(b, option...)
	}
	return append(b, message...)
}

func ieee802(arp []byte) []byte {
	arp[15] = 6
	return arp
}

func provider(tagged []byte) []byte {
	tagged[12], tagged[13] = 0x88, 0xa8
	return tagged
}

func TestUplinksDoNotSpeakForPorts(t *testing.T) {
	host := networktest.Host(2)
	out := network.MAC{2, 7, 7, 7, 7, 7}
	away, v4, v6 := netip.MustParseAddr("10.9.9.9"), host.Addresses[0], host.Addresses[1]
	for name, c := range map[string]struct {
		frame []byte
		drop  network.Drop
	}{
		"its MAC":        {networktest.IPv4(network.Broadcast, host.MAC, away, v4, 17, nil), network.DropSource},
		"its IPv4":       {networktest.IPv4(host.MAC, out, v4, v4, 17, nil), network.DropAddress},
		"its ARP":        {networktest.ARP(network.Broadcast, out, 2, out, v4, network.Broadcast, away), network.DropAddress},
		"its IPv6":       {networktest.IPv6(host.MAC, out, v6, v6, 17, nil), network.DropAddress},
		"its neighbours": {networktest.IPv6(network.Broadcast, out, out.LinkLocal(), v6, 58, networktest.Advert(v6, out)), network.DropAddress},
		// Hidden from a guard that does not look far enough, but not from every stack.
		"its IPv4, cut off":       {networktest.IPv4(host.MAC, out, v4, v4, 17, make([]byte, 20))[:50], network.DropAddress},
		"its ARP, of IEEE 802":    {ieee802(networktest.ARP(network.Broadcast, out, 2, out, v4, network.Broadcast, away)), network.DropMalformed},
		"its ARP in two tags":     {networktest.Tagged(networktest.Tagged(networktest.ARP(network.Broadcast, out, 2, out, v4, network.Broadcast, away), 0), 0), network.DropVLAN},
		"a provider's tag":        {provider(networktest.Tagged(networktest.ARP(network.Broadcast, out, 2, out, v4, network.Broadcast, away), 0)), network.DropVLAN},
		"an advert far behind":    {networktest.IPv6(host.MAC, out, out.LinkLocal(), v6, 60, behind(9, 0, networktest.Advert(v6, out))), network.DropMalformed},
		"an advert behind much":   {networktest.IPv6(host.MAC, out, out.LinkLocal(), v6, 60, behind(1, 31, networktest.Advert(v6, out))), network.DropMalformed},
		"an advert behind option": {networktest.IPv6(host.MAC, out, out.LinkLocal(), v6, 60, behind(1, 0, networktest.Advert(v6, out))), network.DropAddress},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, uplink(1), host)
			b.sides[0].send(c.frame)
			b.expect(nil)
			if b.sides[0].drops()[c.drop] != 1 {
				t.Errorf("drops: %v", b.sides[0].drops())
			}
		})
	}
}
