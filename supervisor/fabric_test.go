package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/ipc/shm"
	"github.com/quintet-os/quintet/network"
)

// openPort asks for a port and gives back the session and what is said of it.
func openPort(t *testing.T, c *broker.Client, name string) (uint64, network.Interface, error) {
	t.Helper()
	g := network.Geometry(network.BuffersMin)
	segment, err := shm.Create("test", g.ClientBytes(), shm.OneWriter)
	if err != nil {
		t.Fatal(err)
	}
	defer segment.Close()
	if err := ipc.FormatClient(segment.Mem, g); err != nil {
		t.Fatal(err)
	}
	m, err := c.Ask(t.Context(), &broker.Connect{Network: name, Geometry: g}, segment.FD)
	if err != nil {
		return 0, network.Interface{}, err
	}
	m.CloseFDs()
	var i network.Interface
	connected := m.Body.(*broker.Connected)
	if err := json.Unmarshal(connected.Terms, &i); err != nil {
		t.Fatal(err)
	}
	return connected.Session, i, nil
}

func resolve(t *testing.T, c *broker.Client, name string) *broker.Resolved {
	t.Helper()
	m, err := c.Ask(t.Context(), &broker.Resolve{Network: "lan", Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return m.Body.(*broker.Resolved)
}

// reverse is the name of an address.
func reverse(a netip.Addr) string {
	var labels []string
	if a.Is4() {
		for _, b := range a.As4() {
			labels = append([]string{fmt.Sprint(b)}, labels...)
		}
		return strings.Join(labels, ".") + ".in-addr.arpa"
	}
	for _, b := range a.As16() {
		labels = append([]string{fmt.Sprintf("%x", b&15), fmt.Sprintf("%x", b>>4)}, labels...)
	}
	return strings.Join(labels, ".") + ".ip6.arpa"
}

// The resolvers of the host are read again whenever an uplink asks.
func TestHostResolversAreFollowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if got := hostResolvers(path); len(got) != 0 {
		t.Errorf("without the file: %v", got)
	}
	for text, want := range map[string]string{
		"nameserver 192.0.2.1\n":                               "[192.0.2.1:53]",
		"# nobody\nsearch example\nnameserver\nnameserver x\n": "[]",
		"nameserver ::1\nnameserver 192.0.2.2 # two\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n": "[[::1]:53 192.0.2.2:53 192.0.2.3:53]",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(hostResolvers(path)); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// TestPortsKeepTheirAddresses: an application's first port has the same MAC and
// addresses whenever it comes, and also after the server has died; another gets the
// next, and names stand for all of them.
func TestPortsKeepTheirAddresses(t *testing.T) {
	s := startWith(t, `version: 1
servers: {net: {kind: network}}
networks: {lan: {server: net}}
applications: {test: {networks: {lan: {}}}, absent: {networks: {lan: {}}}}
`)
	c := connect(t, s)
	session, first, err := openPort(t, c, "lan")
	if err != nil {
		t.Fatal(err)
	}
	_, second, err := openPort(t, c, "lan")
	if err != nil {
		t.Fatal(err)
	}
	if first.MAC == second.MAC || first.MAC[0]&3 != 2 || len(first.Addresses) != 2 {
		t.Errorf("the ports are %+v and %+v", first, second)
	}
	both := []netip.Addr{first.Addresses[0].Addr(), first.Addresses[1].Addr(), second.Addresses[0].Addr(), second.Addresses[1].Addr()}
	began := make(map[netip.Addr]bool)
	for _, name := range []string{"test", "TEST.", "test.lan"} {
		got := resolve(t, c, name)
		began[got.Addresses[0]] = true
		slices.SortFunc(got.Addresses, func(a, b netip.Addr) int { return slices.Index(both, a) - slices.Index(both, b) })
		if !slices.Equal(got.Addresses, both) || !got.Own {
			t.Errorf("%s is %+v, want %v", name, got, both)
		}
	}
	if len(began) != 2 {
		t.Errorf("the answers begin with %v, want each port in its turn", began)
	}
	for i := range both {
		if got := resolve(t, c, reverse(both[i])); !slices.Equal(got.Names, []string{"test.lan"}) || !got.Own {
			t.Errorf("%v is %+v", both[i], got)
		}
	}
	for name, own := range map[string]bool{"other": false, "other.example": false, "absent": true, "other.lan": true, reverse(first.Addresses[0].Masked().Addr()): true, reverse(netip.MustParseAddr("192.0.2.1")): false} {
		if got := resolve(t, c, name); len(got.Addresses)+len(got.Names) != 0 || got.Own != own {
			t.Errorf("%s is %+v, want own %t", name, got, own)
		}
	}
	if _, err := c.Ask(t.Context(), &broker.Control{Verb: VerbKill, Target: "net"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Ask(t.Context(), &broker.Close{Session: session}); err != nil {
		t.Fatal(err)
	}
	if got := resolve(t, c, "test").Addresses; len(got) != 2 {
		t.Errorf("after one port has gone, the name is %v", got)
	}
	if _, again, err := openPort(t, c, "lan"); err != nil || again.MAC != first.MAC || !slices.Equal(again.Addresses, first.Addresses) {
		t.Errorf("the first port came back as %+v, %v", again, err)
	}
}

// TestPortsAreBounded: a session that is no port, and more ports than rows of
// counters, are refused, and give back what they had taken.
func TestPortsAreBounded(t *testing.T) {
	s := startWith(t, `version: 1
servers: {net: {kind: network}}
networks: {lan: {server: net, subnets: [10.0.0.0/16]}}
applications: {test: {networks: {lan: {}}}}
`)
	c := connect(t, s)
	g := ipc.Geometry{Slots: 1}
	segment, err := shm.Create("test", g.ClientBytes(), shm.OneWriter)
	if err != nil {
		t.Fatal(err)
	}
	defer segment.Close()
	if _, err := c.Ask(t.Context(), &broker.Connect{Network: "lan", Geometry: g}, segment.FD); !errors.Is(err, &broker.Refused{Code: broker.CodeLimit}) {
		t.Errorf("a session without rings: %v", err)
	}
	s.mu.Lock()
	f := s.fabrics["lan"]
	taken := len(f.macs) + len(f.taken)
	for i := range f.of.rows {
		f.of.rows[i] = true
	}
	s.mu.Unlock()
	if _, _, err := openPort(t, c, "lan"); !errors.Is(err, &broker.Refused{Code: broker.CodeLimit}) {
		t.Errorf("more ports than the server can have: %v", err)
	}
	s.mu.Lock()
	if now := len(f.macs) + len(f.taken); now != taken {
		t.Errorf("%d addresses were taken, %d are after a refusal", taken, now)
	}
	clear(f.of.rows)
	s.mu.Unlock()
	if _, _, err := openPort(t, c, "lan"); err != nil {
		t.Errorf("with room: %v", err)
	}
}
