package main

import (
	"net/netip"
	"strings"
	"testing"
)

// A program under --compat has the network's resolvers and the host's search list.
func TestResolverLines(t *testing.T) {
	host := "# of the host\nnameserver 192.0.2.1\nsearch  example.com corp.example\n\noptions ndots:2\nsortlist 10.0.0.0\nsearch\n"
	want := "nameserver 10.77.0.1\nnameserver fd00::1\nsearch example.com corp.example\noptions ndots:2\n"
	if got := resolverLines(host, []string{"10.77.0.1", "fd00::1"}); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Resolvers that such a program could not ask are refused by name.
func TestResolversAtAnotherPort(t *testing.T) {
	at := []netip.AddrPort{netip.MustParseAddrPort("10.0.0.53:53"), netip.MustParseAddrPort("[fd00::53]:53")}
	if got, err := askable("lan", at); err != nil || strings.Join(got, " ") != "10.0.0.53 fd00::53" {
		t.Errorf("%v, %v", got, err)
	}
	_, err := askable("lan", append(at, netip.MustParseAddrPort("10.0.0.54:5353")))
	if err == nil || !strings.Contains(err.Error(), "10.0.0.54:5353") || !strings.Contains(err.Error(), "user uplink") {
		t.Errorf("a resolver at port 5353: %v", err)
	}
}
