package dns_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/quintet-os/quintet/network/dns"
)

var (
	web4 = netip.MustParseAddr("10.77.0.10")
	web6 = netip.MustParseAddr("fd00::10")
)

var errNames = errors.New("the names cannot be had")

// names knows web, which has both families, four, which has one, and many.
func names(_ context.Context, name string) (e dns.Entry, err error) {
	switch name {
	case "web":
		e.Addresses = []netip.Addr{web4, web6}
	case "four":
		e.Addresses = []netip.Addr{web4}
	case "many":
		for i := range 64 {
			e.Addresses = append(e.Addresses, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
		}
	case "broken":
		return e, errNames
	}
	return e, nil
}

// ask packs a query.
func ask(t testing.TB, name string, kind dnsmessage.Type, change func(*dnsmessage.Message)) []byte {
	t.Helper()
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 0x1234, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}}}
	if change != nil {
		change(&m)
	}
	packed, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

// edns adds what askers say of themselves.
func edns(datagramBytes int, version uint32) func(*dnsmessage.Message) {
	return func(m *dnsmessage.Message) {
		var h dnsmessage.ResourceHeader
		if err := h.SetEDNS0(datagramBytes, 0, false); err != nil {
			panic(err)
		}
		h.TTL |= version << 16
		m.Additionals = append(m.Additionals, dnsmessage.Resource{Header: h, Body: &dnsmessage.OPTResource{}})
	}
}

func unpack(t testing.TB, message []byte) (m dnsmessage.Message) {
	t.Helper()
	if err := m.Unpack(message); err != nil {
		t.Fatalf("%v: %x", err, message)
	}
	return m
}

// addresses are those that a reply holds.
func addresses(m dnsmessage.Message) (all []netip.Addr) {
	for _, r := range m.Answers {
		switch body := r.Body.(type) {
		case *dnsmessage.AResource:
			all = append(all, netip.AddrFrom4(body.A))
		case *dnsmessage.AAAAResource:
			all = append(all, netip.AddrFrom16(body.AAAA))
		}
	}
	return all
}

func TestAnswers(t *testing.T) {
	a := &dns.Answerer{Names: names}
	for _, c := range []struct {
		name, asked string
		kind        dnsmessage.Type
		change      func(*dnsmessage.Message)
		rcode       dnsmessage.RCode
		want        []netip.Addr
	}{
		{"IPv4", "web.", dnsmessage.TypeA, nil, dnsmessage.RCodeSuccess, []netip.Addr{web4}},
		{"IPv6", "web.", dnsmessage.TypeAAAA, nil, dnsmessage.RCodeSuccess, []netip.Addr{web6}},
		{"any type", "web.", dnsmessage.TypeALL, nil, dnsmessage.RCodeSuccess, []netip.Addr{web4, web6}},
		{"upper case", "WEB.", dnsmessage.TypeA, nil, dnsmessage.RCodeSuccess, []netip.Addr{web4}},
		{"a family that it has not", "four.", dnsmessage.TypeAAAA, nil, dnsmessage.RCodeSuccess, nil},
		{"another type", "web.", dnsmessage.TypeMX, nil, dnsmessage.RCodeSuccess, nil},
		{"unknown", "wob.", dnsmessage.TypeA, nil, dnsmessage.RCodeNameError, nil},
		{"the root", ".", dnsmessage.TypeNS, nil, dnsmessage.RCodeNameError, nil},
		{"names fail", "broken.", dnsmessage.TypeA, nil, dnsmessage.RCodeServerFailure, nil},
		{"EDNS", "web.", dnsmessage.TypeA, edns(4096, 0), dnsmessage.RCodeSuccess, []netip.Addr{web4}},
		{"EDNS to come", "web.", dnsmessage.TypeA, edns(4096, 1), dnsmessage.RCodeSuccess, nil},
		{"an update", "web.", dnsmessage.TypeSOA, func(m *dnsmessage.Message) { m.OpCode = 5 }, dnsmessage.RCodeNotImplemented, nil},
		{"two questions", "web.", dnsmessage.TypeA, func(m *dnsmessage.Message) { m.Questions = append(m.Questions, m.Questions...) }, dnsmessage.RCodeFormatError, nil},
		{"no question", "web.", dnsmessage.TypeA, func(m *dnsmessage.Message) { m.Questions = nil }, dnsmessage.RCodeFormatError, nil},
		{"another class", "web.", dnsmessage.TypeA, func(m *dnsmessage.Message) { m.Questions[0].Class = dnsmessage.ClassCHAOS }, dnsmessage.RCodeNameError, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			query := ask(t, c.asked, c.kind, c.change)
			m := unpack(t, a.Answer(t.Context(), query))
			if m.RCode != c.rcode || !m.Response || m.ID != 0x1234 || !m.RecursionAvailable || m.Truncated {
				t.Errorf("header %+v, want %v", m.Header, c.rcode)
			}
			if got := addresses(m); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if asked := unpack(t, query); c.rcode != dnsmessage.RCodeFormatError && c.rcode != dnsmessage.RCodeNotImplemented && c.name != "EDNS to come" &&
				(!reflect.DeepEqual(m.Questions, asked.Questions) || len(m.Additionals) != len(asked.Additionals)) {
				t.Errorf("got %v, asked was %v", m, asked)
			}
		})
	}
	if m := unpack(t, a.Answer(t.Context(), ask(t, "web.", dnsmessage.TypeA, edns(4096, 1)))); m.Additionals[0].Header.ExtendedRCode(m.RCode) != 16 {
		t.Errorf("an unknown version of EDNS is answered by %v, want BADVERS", m)
	}
}

func TestWhatIsNoQueryIsNotAnswered(t *testing.T) {
	a := &dns.Answerer{Names: names}
	reply := a.Answer(t.Context(), ask(t, "web.", dnsmessage.TypeA, nil))
	for _, message := range [][]byte{nil, {}, make([]byte, 11), reply} {
		if got := a.Answer(t.Context(), message); got != nil {
			t.Errorf("%x is answered by %x", message, got)
		}
	}
	whole := ask(t, "web.", dnsmessage.TypeA, edns(1232, 0))
	for n := 12; n < len(whole); n++ {
		if m := unpack(t, a.Answer(t.Context(), whole[:n])); m.RCode != dnsmessage.RCodeFormatError {
			t.Errorf("the first %d bytes of a query are answered by %v", n, m)
		}
	}
	if m := unpack(t, a.Answer(t.Context(), append(ask(t, "web.", dnsmessage.TypeA, nil), make([]byte, 5000)...))); m.RCode != dnsmessage.RCodeFormatError {
		t.Errorf("a query of 5000 bytes is answered by %v", m)
	}
}

func TestOtherNamesAreForwarded(t *testing.T) {
	var asked [][]byte
	answer := func(query []byte) ([]byte, error) {
		return (&dns.Answerer{Names: names}).Answer(t.Context(), query), nil
	}
	a := &dns.Answerer{
		Names: func(_ context.Context, name string) (dns.Entry, error) {
			return map[string]dns.Entry{"inside": {Addresses: []netip.Addr{web4}}}[name], nil
		},
		Forward: func(_ context.Context, query []byte) ([]byte, error) {
			asked = append(asked, query)
			return answer(query)
		},
	}
	for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeTXT} {
		a.Answer(t.Context(), ask(t, "inside.", kind, nil))
	}
	if len(asked) != 0 {
		t.Errorf("the world was asked about a name of the network: %q", asked)
	}
	query := ask(t, "web.", dnsmessage.TypeA, nil)
	if got := addresses(unpack(t, a.Answer(t.Context(), query))); len(asked) != 1 || !bytes.Equal(asked[0], query) || !reflect.DeepEqual(got, []netip.Addr{web4}) {
		t.Errorf("got %v, having forwarded %x", got, asked)
	}
	for name, forward := range map[string]func(query []byte) ([]byte, error){
		"an error":         func([]byte) ([]byte, error) { return nil, errNames },
		"nothing":          func([]byte) ([]byte, error) { return nil, nil },
		"the query":        func(query []byte) ([]byte, error) { return query, nil },
		"another question": func([]byte) ([]byte, error) { return answer(ask(t, "four.", dnsmessage.TypeA, nil)) },
		"another id": func(query []byte) ([]byte, error) {
			reply, err := answer(query)
			reply[0]++
			return reply, err
		},
	} {
		a.Forward = func(_ context.Context, query []byte) ([]byte, error) { return forward(query) }
		if m := unpack(t, a.Answer(t.Context(), query)); m.RCode != dnsmessage.RCodeServerFailure || m.ID != 0x1234 {
			t.Errorf("%s from the resolver becomes %v", name, m)
		}
	}
}

func TestDatagramsAreBounded(t *testing.T) {
	a := &dns.Answerer{Names: names}
	for _, c := range []struct {
		takes, limit int
		whole        bool
	}{{0, 512, false}, {100, 512, false}, {1000, 1000, false}, {1232, 1232, true}, {65535, 1232, true}} {
		var change func(*dnsmessage.Message)
		if c.takes > 0 {
			change = edns(c.takes, 0)
		}
		query := ask(t, "many.", dnsmessage.TypeA, change)
		reply := a.AnswerDatagram(t.Context(), query)
		m := unpack(t, reply)
		if len(reply) > c.limit || m.Truncated == c.whole || (len(m.Answers) == 64) != c.whole || m.RCode != dnsmessage.RCodeSuccess {
			t.Errorf("an asker that takes %d bytes gets %d: %v", c.takes, len(reply), m)
		}
		if m := unpack(t, a.Answer(t.Context(), query)); m.Truncated || len(m.Answers) != 64 {
			t.Errorf("on a stream: %v", m)
		}
	}
}

// The resolver of package net, with all it checks, takes the answers.
func TestResolver(t *testing.T) {
	a := &dns.Answerer{Names: names}
	r := &net.Resolver{PreferGo: true, Dial: a.Dial}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for network, want := range map[string]string{"ip": "[10.77.0.10 fd00::10]", "ip4": "[10.77.0.10]", "ip6": "[fd00::10]"} {
		got, err := r.LookupNetIP(ctx, network, "web.")
		if network == "ip" && len(got) == 2 && got[0].Is6() { // whichever family came first
			got[0], got[1] = got[1], got[0]
		}
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: %v, %v, want %s", network, got, err, want)
		}
	}
	if got, err := r.LookupNetIP(ctx, "ip", "many."); err != nil || len(got) != 64 {
		t.Errorf("%d addresses, %v", len(got), err)
	}
	var unknown *net.DNSError
	if got, err := r.LookupNetIP(ctx, "ip", "wob.example."); !errors.As(err, &unknown) || !unknown.IsNotFound {
		t.Errorf("%v, %v", got, err)
	}
	// Closing gives up a query that nobody answers.
	asked, given := make(chan struct{}), make(chan struct{})
	a.Forward = func(ctx context.Context, _ []byte) ([]byte, error) {
		close(asked)
		<-ctx.Done()
		close(given)
		return nil, ctx.Err()
	}
	c, err := a.Dial(ctx, "udp", "x")
	if err != nil {
		t.Fatal(err)
	}
	query := ask(t, "wob.", dnsmessage.TypeA, nil)
	if _, err := c.Write(append([]byte{0, byte(len(query))}, query...)); err != nil {
		t.Fatal(err)
	}
	<-asked
	c.Close()
	<-given
}

func FuzzAnswer(f *testing.F) {
	f.Add(ask(f, "web.", dnsmessage.TypeA, nil))
	f.Add(ask(f, "many.", dnsmessage.TypeA, edns(600, 0)))
	f.Add(ask(f, "a.b.c.example.", dnsmessage.TypePTR, edns(0, 1)))
	f.Add([]byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"))
	f.Fuzz(func(t *testing.T, message []byte) {
		forwarded := message
		a := &dns.Answerer{Names: names, Forward: func(_ context.Context, query []byte) ([]byte, error) {
			reply := bytes.Clone(forwarded)
			reply[2] |= 0x80
			return reply, nil
		}}
		for _, answerer := range []*dns.Answerer{a, {Names: names}} {
			for limit, answer := range map[int]func(context.Context, []byte) []byte{65535: answerer.Answer, 1232: answerer.AnswerDatagram} {
				reply := answer(t.Context(), message)
				if reply == nil {
					if len(message) >= 12 && message[2]&0x80 == 0 {
						t.Errorf("%x is not answered", message)
					}
					continue
				}
				if len(reply) < 12 || len(reply) > limit || !bytes.Equal(reply[:2], message[:2]) || reply[2]&0x80 == 0 {
					t.Errorf("%x is answered by %x", message, reply)
				}
			}
		}
	})
}
