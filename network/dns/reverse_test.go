package dns_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/quintet-os/quintet/network/dns"
)

func TestReverse(t *testing.T) {
	for name, want := range map[string]string{
		"5.0.77.10.in-addr.arpa": "10.77.0.5",
		"b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa": "2001:db8::567:89ab", // RFC 3596, 2.5
	} {
		if got, ok := dns.Reverse(name); !ok || got != netip.MustParseAddr(want) {
			t.Errorf("%s is %v, %v; want %s", name, got, ok, want)
		}
	}
	for _, name := range []string{"", "web", "in-addr.arpa", "77.10.in-addr.arpa", "256.0.77.10.in-addr.arpa", "05.0.77.10.in-addr.arpa", "x.0.77.10.in-addr.arpa",
		"8.b.d.0.1.0.0.2.ip6.arpa", strings.Repeat("10.", 32) + "ip6.arpa", strings.Repeat("g.", 32) + "ip6.arpa", "5.0.77.10.in-addr.arpa.example"} {
		if got, ok := dns.Reverse(name); ok {
			t.Errorf("%q is %v", name, got)
		}
	}
}

// What is the network's own is answered here, also when nobody has the name now.
func TestOwnNamesAreNeverForwarded(t *testing.T) {
	a := &dns.Answerer{Names: own, Forward: func(context.Context, []byte) ([]byte, error) {
		t.Error("a name of the network is asked for outside")
		return nil, errNames
	}}
	for name, want := range map[string]dnsmessage.RCode{"db.": dnsmessage.RCodeNameError, "5.0.77.10.in-addr.arpa.": dnsmessage.RCodeSuccess, "6.0.77.10.in-addr.arpa.": dnsmessage.RCodeNameError} {
		for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypePTR, dnsmessage.TypeTXT} {
			m := unpack(t, a.Answer(t.Context(), ask(t, name, kind, nil)))
			if m.RCode != want || !m.Authoritative {
				t.Errorf("%s %v: %v", name, kind, m.Header)
			}
			if ptr := kind == dnsmessage.TypePTR && want == dnsmessage.RCodeSuccess; (len(m.Answers) == 1) != ptr {
				t.Errorf("%s %v is answered by %v", name, kind, m.Answers)
			} else if ptr && m.Answers[0].Body.(*dnsmessage.PTRResource).PTR.String() != "web.lan." {
				t.Errorf("%s is %v", name, m.Answers[0])
			}
		}
	}
}

// own knows the address of web, and that db and its subnet are the network's.
func own(_ context.Context, name string) (dns.Entry, error) {
	a, reverse := dns.Reverse(name)
	switch {
	case reverse && a == netip.MustParseAddr("10.77.0.5"):
		return dns.Entry{Own: true, Names: []string{"web.lan"}}, nil
	case reverse || name == "db":
		return dns.Entry{Own: true}, nil
	}
	return dns.Entry{}, nil
}
