package dns_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/quintet-os/quintet/network/dns"
)

// resolver is a server on the loopback interface, whose answers a test decides.
type resolver struct {
	datagrams func(query []byte) [][]byte // what is sent back, in order
	stream    func(query []byte) []byte   // nil: connections are refused
	asked     atomic.Int64

	address netip.AddrPort
}

func (r *resolver) start(t *testing.T) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	r.address = listener.Addr().(*net.TCPAddr).AddrPort()
	socket, err := net.ListenPacket("udp", r.address.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	go func() {
		for b := make([]byte, 65536); ; {
			n, from, err := socket.ReadFrom(b)
			if err != nil {
				return
			}
			r.asked.Add(1)
			for _, reply := range r.datagrams(bytes.Clone(b[:n])) {
				socket.WriteTo(reply, from)
			}
		}
	}()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			if r.stream != nil {
				var length [2]byte
				io.ReadFull(c, length[:])
				query := make([]byte, binary.BigEndian.Uint16(length[:]))
				io.ReadFull(c, query)
				reply := r.stream(query)
				c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
			}
			c.Close()
		}
	}()
	return r.address
}

var world = &dns.Answerer{Names: names}

func whole(query []byte) []byte     { return world.Answer(context.Background(), query) }
func datagram(query []byte) []byte  { return world.AnswerDatagram(context.Background(), query) }
func honest(query []byte) [][]byte  { return [][]byte{datagram(query)} }
func silent([]byte) [][]byte        { return nil }
func failing(query []byte) [][]byte { return [][]byte{with(whole(query), 3, 2)} } // SERVFAIL

// with is a copy of the message with a byte replaced.
func with(message []byte, at int, b byte) []byte {
	message = bytes.Clone(message)
	message[at] = b
	return message
}

func TestExchange(t *testing.T) {
	web, many := ask(t, "web.", dnsmessage.TypeA, nil), ask(t, "many.", dnsmessage.TypeA, nil)
	other := whole(ask(t, "four.", dnsmessage.TypeA, nil))
	for _, c := range []struct {
		name      string
		query     []byte
		resolvers []*resolver
		asked     []int64
		want      []byte // nil: an error
	}{
		{"one", web, []*resolver{{datagrams: honest}}, []int64{1}, whole(web)},
		{"the first that answers", web, []*resolver{{datagrams: honest}, {datagrams: failing}}, []int64{1, 0}, whole(web)},
		{"one is silent", web, []*resolver{{datagrams: silent}, {datagrams: honest}}, []int64{1, 1}, whole(web)},
		{"one fails", web, []*resolver{{datagrams: failing}, {datagrams: honest}}, []int64{1, 1}, whole(web)},
		{"all fail", web, []*resolver{{datagrams: failing}, {datagrams: failing}}, []int64{1, 1}, failing(web)[0]},
		{"all are silent", web, []*resolver{{datagrams: silent}}, []int64{2}, nil},
		{"no such name", ask(t, "wob.", dnsmessage.TypeA, nil), []*resolver{{datagrams: honest}, {datagrams: honest}}, []int64{1, 0}, whole(ask(t, "wob.", dnsmessage.TypeA, nil))},
		{"forged answers come first", web, []*resolver{{datagrams: func(query []byte) [][]byte {
			return [][]byte{{}, make([]byte, 12), with(whole(query), 0, 0xff), other, query, whole(query)}
		}}}, []int64{1}, whole(web)},
		{"too long for a datagram", many, []*resolver{{datagrams: honest, stream: whole}}, []int64{1}, whole(many)},
		{"too long, and there is no stream", many, []*resolver{{datagrams: honest}}, []int64{1}, datagram(many)},
		{"too long, and the stream answers something else", many, []*resolver{{datagrams: honest, stream: func([]byte) []byte { return other }}}, []int64{1}, datagram(many)},
		{"no resolver", web, nil, nil, nil},
		{"no query", other, []*resolver{{datagrams: honest}}, []int64{0}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var at []netip.AddrPort
			for _, r := range c.resolvers {
				at = append(at, r.start(t))
			}
			got, err := dns.Exchange(new(net.Dialer).DialContext, dns.Fixed(at...))(t.Context(), c.query)
			if !bytes.Equal(got, c.want) || (err != nil) != (c.want == nil) {
				t.Errorf("got %x, %v\nwant %x", got, err, c.want)
			}
			for i, r := range c.resolvers {
				if n := r.asked.Load(); n != c.asked[i] {
					t.Errorf("resolver %d was asked %d times, want %d", i, n, c.asked[i])
				}
			}
		})
	}
}

// A resolver that nobody runs is passed over at once, and whoever gives up waits no
// longer.
func TestExchangeEnds(t *testing.T) {
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := socket.LocalAddr().(*net.UDPAddr).AddrPort()
	socket.Close()
	ctx, cancel := context.WithCancel(t.Context())
	r := &resolver{datagrams: func([]byte) [][]byte { cancel(); return nil }}
	if got, err := dns.Exchange(new(net.Dialer).DialContext, dns.Fixed(nobody, r.start(t)))(ctx, ask(t, "web.", dnsmessage.TypeA, nil)); err == nil {
		t.Errorf("got %x of nobody", got)
	}
	if r.asked.Load() != 1 {
		t.Errorf("the second resolver was asked %d times", r.asked.Load())
	}
}

// Several queries of one socket are answered at the same time.
func TestServeDatagrams(t *testing.T) {
	near, far, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	defer far.Close()
	release := make(chan struct{})
	a := &dns.Answerer{Names: names, Forward: func(_ context.Context, query []byte) ([]byte, error) {
		<-release
		return whole(query), nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		a.ServeDatagrams(ctx, far, time.Minute)
		close(ended)
	}()
	near.SetDeadline(time.Now().Add(time.Minute))
	slow, quick := ask(t, "wob.", dnsmessage.TypeA, nil), ask(t, "web.", dnsmessage.TypeA, nil)
	for _, query := range [][]byte{slow, []byte("garbage"), quick} {
		if _, err := near.Write(query); err != nil {
			t.Fatal(err)
		}
	}
	b := make([]byte, 2000)
	n, err := near.Read(b)
	if err != nil || !reflect.DeepEqual(addresses(unpack(t, b[:n])), []netip.Addr{web4}) {
		t.Errorf("first came %x, %v", b[:n], err)
	}
	close(release)
	n, err = near.Read(b)
	if err != nil || unpack(t, b[:n]).RCode != dnsmessage.RCodeNameError {
		t.Errorf("second came %x, %v", b[:n], err)
	}
	cancel()
	<-ended
}

// socketPair returns two connected sockets of UDP.
func socketPair() (near, far net.Conn, err error) {
	loopback := net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}
	free, err := net.ListenUDP("udp", &loopback)
	if err != nil {
		return nil, nil, err
	}
	nearAt := *free.LocalAddr().(*net.UDPAddr)
	free.Close()
	farSocket, err := net.DialUDP("udp", &loopback, &nearAt)
	if err != nil {
		return nil, nil, err
	}
	near, err = net.DialUDP("udp", &nearAt, farSocket.LocalAddr().(*net.UDPAddr))
	return near, farSocket, err
}
