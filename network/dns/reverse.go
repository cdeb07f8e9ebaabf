package dns

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Reverse returns the address that a name of the reverse zones stands for (RFC 1035, 3.5;
// RFC 3596, 2.5), in lower case and without a dot at the end; false if it is none of a
// whole address.
func Reverse(name string) (netip.Addr, bool) {
	if labels, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		return reverse4(strings.Split(labels, "."))
	}
	if labels, ok := strings.CutSuffix(name, ".ip6.arpa"); ok {
		return reverse6(strings.Split(labels, "."))
	}
	return netip.Addr{}, false
}

func reverse4(labels []string) (netip.Addr, bool) {
	slices.Reverse(labels)
	a, err := netip.ParseAddr(strings.Join(labels, "."))
	return a, err == nil && a.Is4()
}

func reverse6(labels []string) (netip.Addr, bool) {
	var a [16]byte
	if len(labels) != 2*len(a) {
		return netip.Addr{}, false
	}
	for i, label := range labels {
		nibble, err := strconv.ParseUint(label, 16, 4)
		if err != nil || len(label) != 1 {
			return netip.Addr{}, false
		}
		a[len(a)-1-i/2] |= byte(nibble) << (4 * (i % 2))
	}
	return netip.AddrFrom16(a), true
}
