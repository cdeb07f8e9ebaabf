package dhcp_test

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/dhcp"
	"github.com/quintet-os/quintet/network/networktest"
)

var (
	mac       = network.MAC{2, 0, 0, 0, 0, 7}
	serverMAC = network.MAC{2, 0, 0, 0, 0, 1}
	server    = netip.MustParseAddr("10.5.0.1")
	address   = netip.MustParsePrefix("10.5.0.77/24")
	resolvers = []net.IP{net.IPv4(10, 5, 0, 2), net.IPv4(10, 5, 0, 3)}
)

// sent is what the client has sent.
type sent struct {
	*dhcpv4.DHCPv4
	at       time.Duration // since the world began
	to       network.MAC
	src, dst netip.Addr
}

// world is a link with a server behind it, whose answers a test decides.
type world struct {
	t      *testing.T
	client *dhcp.Client
	begun  time.Time
	// answer returns the answers to what was sent.
	answer func(s sent) []*dhcpv4.DHCPv4

	suspended atomic.Int64 // ns, so far

	mu      sync.Mutex
	all     []sent
	lost    []error
	changed []dhcp.Lease
}

func newWorld(t *testing.T, answer func(s sent) []*dhcpv4.DHCPv4) *world {
	w := &world{t: t, begun: time.Now(), answer: answer}
	w.client = dhcp.New(dhcp.Config{
		Send: w.send,
		Lost: func(m network.MAC, why error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.lost = append(w.lost, why)
			if m != mac {
				t.Errorf("%v has lost its lease", m)
			}
		},
		Changed: func(_ network.MAC, now dhcp.Lease) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.changed = append(w.changed, now)
		},
		Suspended: func() time.Duration { return time.Duration(w.suspended.Load()) },
	})
	return w
}

func (w *world) send(frame []byte) error {
	ip, udp := frame[14:34], frame[34:]
	pseudo := network.Sum(uint64(17+len(udp)), ip[12:20])
	if fold(network.Sum(0, ip)) != 0xffff || fold(network.Sum(pseudo, udp)) != 0xffff {
		w.t.Errorf("the checksums of %x are wrong", frame)
	}
	if network.MAC(frame[6:12]) != mac || binary.BigEndian.Uint16(udp) != 68 || binary.BigEndian.Uint16(udp[2:]) != 67 {
		w.t.Errorf("headers of %x", frame)
	}
	m, err := dhcpv4.FromBytes(udp[8:])
	if err != nil {
		w.t.Errorf("%x: %v", frame, err)
		return err
	}
	s := sent{DHCPv4: m, at: time.Since(w.begun), to: network.MAC(frame[:6]),
		src: netip.AddrFrom4([4]byte(ip[12:])), dst: netip.AddrFrom4([4]byte(ip[16:]))}
	w.mu.Lock()
	w.all = append(w.all, s)
	w.mu.Unlock()
	for _, reply := range w.answer(s) {
		if !w.client.Filter(frameOf(network.Broadcast, reply.ToBytes())) {
			w.t.Errorf("an answer passes the filter: %v", reply)
		}
	}
	return nil
}

func fold(sum uint64) uint16 {
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// frameOf is a frame with a message of the server.
func frameOf(to network.MAC, message []byte) []byte {
	udp := []byte{0, 67, 0, 68}
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(message)))
	udp = append(append(udp, 0, 0), message...)
	return networktest.IPv4(to, serverMAC, server, netip.MustParseAddr("255.255.255.255"), 17, udp)
}

// taken are the messages sent so far, each in a word, and forgets them.
func (w *world) taken() (kinds []string, all []sent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all, w.all = w.all, nil
	for _, s := range all {
		kinds = append(kinds, s.MessageType().String())
	}
	return kinds, all
}

// ends are the leases lost and changed so far.
func (w *world) ends() (lost []error, changed []dhcp.Lease) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.lost), slices.Clone(w.changed)
}

// reply makes an answer of the server, a lease of an hour unless changed.
func reply(s sent, kind dhcpv4.MessageType, change ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	m, err := dhcpv4.NewReplyFromRequest(s.DHCPv4, append([]dhcpv4.Modifier{
		dhcpv4.WithMessageType(kind), dhcpv4.WithServerIP(server.AsSlice()), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(server.AsSlice())),
		dhcpv4.WithYourIP(address.Addr().AsSlice()), dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithLeaseTime(3600),
		dhcpv4.WithRouter(server.AsSlice()), dhcpv4.WithDNS(resolvers...)}, change...)...)
	if err != nil {
		panic(err)
	}
	return m
}

// generous answers whatever is asked.
func generous(s sent) []*dhcpv4.DHCPv4 {
	switch s.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		return []*dhcpv4.DHCPv4{reply(s, dhcpv4.MessageTypeOffer)}
	case dhcpv4.MessageTypeRequest:
		return []*dhcpv4.DHCPv4{reply(s, dhcpv4.MessageTypeAck)}
	}
	return nil
}

var given = dhcp.Lease{Addresses: []netip.Prefix{address}, Gateways: []netip.Addr{server}, Server: server,
	Resolvers: []netip.AddrPort{netip.MustParseAddrPort("10.5.0.2:53"), netip.MustParseAddrPort("10.5.0.3:53")}}

func (w *world) acquire(limit time.Duration) (dhcp.Lease, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), limit)
	defer cancel()
	return w.client.Acquire(ctx, mac, "web")
}

func (w *world) mustAcquire() {
	w.t.Helper()
	if got, err := w.acquire(time.Hour); err != nil || !reflect.DeepEqual(got, given) {
		w.t.Fatalf("got %+v, %v; want %+v", got, err, given)
	}
}

// pass lets time pass.
func pass(d time.Duration) {
	time.Sleep(d) // of a bubble: nobody waits
	synctest.Wait()
}
