package test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/netns"
	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/network/link/linktest"
	"github.com/quintet-os/quintet/supervisor"
)

// A system lives in one namespace, and the world is another, at the other end of a
// cable.
const (
	systemEnd = "192.0.2.1"
	worldEnd  = "192.0.2.2"
)

func prefixes(addresses ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, a := range addresses {
		all = append(all, netip.MustParsePrefix(a))
	}
	return all
}

// cable joins a system and the world. The system's end has the addresses, or none.
func cable(t *testing.T, system, world *netns.Namespace, own, far []netip.Prefix) {
	t.Helper()
	if err := system.Veth(netns.Interface{Name: "cable", Addresses: own}, world, netns.Interface{Name: "cable", Addresses: far}); err != nil {
		t.Fatal(err)
	}
}

// upBesideWorld starts a system in a namespace of its own, whose user uplink leads to the
// world, another one. The applications are those given.
func upBesideWorld(t *testing.T, applications string) (s *System, system, world *netns.Namespace) {
	t.Helper()
	system, world = linktest.NewNamespace(t), linktest.NewNamespace(t)
	cable(t, system, world, prefixes(systemEnd+"/24"), prefixes(worldEnd+"/24"))
	return UpIn(t, system, program, `version: 1
servers: {net: {kind: network}}
networks: {lan: {server: net}}
uplinks: {world: {network: lan, kind: user}}
applications:`+applications), system, world
}

// serveIn answers HTTP in a namespace with the hash of what was posted.
func serveIn(t *testing.T, n *netns.Namespace, address string) {
	t.Helper()
	var l net.Listener
	if err := n.Do(func() (err error) { l, err = net.Listen("tcp", address); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	serveHashes(t, l)
}

func serveHashes(t *testing.T, l net.Listener) {
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		fmt.Fprintf(w, "%d %x %v", n, sum.Sum(nil), err)
	})}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
}

// post sends data and checks that it has arrived.
func post(t *testing.T, dial func(ctx context.Context, network, address string) (net.Conn, error), address string, bytesOf int) {
	t.Helper()
	data := bytes.Repeat([]byte("quintet!"), bytesOf/8)
	c := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: patience}
	answer, err := c.Post("http://"+address, "", bytes.NewReader(data))
	if err != nil {
		t.Error(err)
		return
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	if want := fmt.Sprintf("%d %x <nil>", len(data), sha256.Sum256(data)); err != nil || string(said) != want {
		t.Errorf("%s says %q, %v; want %q", address, said, err, want)
	}
}

// TestUserUplink: an application reaches the world by sockets of the host, and the
// world reaches it by a published port; the network server and the uplink may die.
func TestUserUplink(t *testing.T) {
	s, _, world := upBesideWorld(t, `
  web: {networks: {lan: {publish: ["8080:80"]}}}
`)
	serveIn(t, world, worldEnd+":80")
	web := s.Network("web", "lan")
	l, err := web.Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	serveHashes(t, l)
	fromWorld := func(ctx context.Context, network, address string) (c net.Conn, err error) {
		err = world.Do(func() error { c, err = new(net.Dialer).DialContext(ctx, network, address); return err })
		return c, err
	}
	both := func() {
		t.Helper()
		post(t, web.DialContext, worldEnd+":80", 1<<20)
		post(t, fromWorld, systemEnd+":8080", 1<<20)
	}
	both()
	// A connection through the gateway outlives the server of the network.
	c, err := web.Dial("tcp", worldEnd+":80")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	before := s.uplink("world")
	for range 5 {
		s.KillServer("net")
		both()
	}
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Error(err)
	}
	if answer, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.0 200") {
		t.Errorf("a connection made before the deaths answers %q, %v", answer, err)
	}
	if after := s.uplink("world"); after.PID != before.PID {
		t.Errorf("the uplink became another process: %+v, %+v", before, after)
	}
	// The uplink itself is replaced; its published port never refuses.
	s.KillServer("world")
	post(t, fromWorld, systemEnd+":8080", 1<<10)
	s.Until("another uplink serves", func(state *supervisor.State) bool {
		return state.Uplinks[0].Serving && state.Uplinks[0].PID != before.PID
	})
	both()
	killed := s.uplink("world")
	var state supervisor.State
	if err := s.Control(supervisor.VerbRestart, "world", &state); err != nil {
		t.Fatal(err)
	}
	if after := state.Uplinks[0]; !after.Serving || after.PID == killed.PID {
		t.Errorf("restarting turned %+v into %+v", killed, after)
	}
	both()
}

func (s *System) uplink(name string) supervisor.UplinkState {
	s.t.Helper()
	state, err := s.State()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, u := range state.Uplinks {
		if u.Name == name {
			return u
		}
	}
	s.t.Fatalf("there is no uplink %s", name)
	return supervisor.UplinkState{}
}

// TestLinkUplinks: a namespace at the other end of each kind of link is a neighbour
// of the applications, also after the death of the server and of the uplink.
func TestLinkUplinks(t *testing.T) {
	for _, each := range []struct{ kind, more string }{
		{"packet", ""}, {"xdp", ", mode: native"}, {"xdp", ", mode: generic"}, {"xdp", ""},
	} {
		t.Run(each.kind+strings.TrimPrefix(each.more, ", mode:"), func(t *testing.T) {
			system, world := linktest.NewNamespace(t), linktest.NewNamespace(t)
			cable(t, system, world, nil, prefixes("10.77.0.200/24", "fd00:7175:696e::200/64"))
			if each.kind == "xdp" {
				if err := world.Do(func() error { return unix.SetTransmitChecksums("cable", false) }); err != nil {
					t.Fatal(err)
				}
			}
			s := UpIn(t, system, program, `version: 1
servers: {net: {kind: network}}
networks: {lan: {server: net}}
uplinks: {cable: {network: lan, kind: `+each.kind+`, interface: cable`+each.more+`}}
applications: {test: {networks: {lan: {}}}}
`)
			neighbours(t, s, world, "10.77.0.200", "[fd00:7175:696e::200]")
		})
	}
}

// TestLongFrames: an interface may take longer frames than its network. They are dropped.
func TestLongFrames(t *testing.T) {
	for _, kind := range []string{"packet", "xdp, mode: native", "xdp, mode: generic"} {
		t.Run(kind, func(t *testing.T) {
			system, world := linktest.NewNamespace(t), linktest.NewNamespace(t)
			long := netns.Interface{Name: "cable", MTU: 9000}
			far := long
			far.Addresses = outside
			if err := system.Veth(long, world, far); err != nil {
				t.Fatal(err)
			}
			if err := world.Do(func() error { return unix.SetTransmitChecksums("cable", false) }); err != nil {
				t.Fatal(err)
			}
			s := UpIn(t, system, program, fmt.Sprintf(oneUplink, "kind: "+kind+", interface: cable"))
			n := s.Network("test", "lan")
			l, err := n.ListenPacket("udp", ":9")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			before := s.uplink("world").PID
			var c net.Conn
			if err := world.Do(func() (err error) {
				c, err = net.Dial("udp", netip.AddrPortFrom(n.Addresses()[0].Addr(), 9).String())
				return err
			}); err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for _, size := range []int{1000, 3000, 5000, 8900, 1001} {
				if _, err := c.Write(make([]byte, size)); err != nil {
					t.Fatal(err)
				}
			}
			_ = l.SetReadDeadline(time.Now().Add(patience))
			for _, want := range []int{1000, 1001} {
				if got, _, err := l.ReadFrom(make([]byte, 9000)); err != nil || got != want {
					t.Errorf("%d bytes come, %v; want %d", got, err, want)
				}
			}
			if after := s.uplink("world"); after.PID != before {
				t.Errorf("the uplink has ended: %+v", after)
			}
		})
	}
}

// neighbours checks that the applications of a system and a namespace reach each
// other.
func neighbours(t *testing.T, s *System, world *netns.Namespace, addresses ...string) {
	t.Helper()
	serveIn(t, world, ":80")
	n := s.Network("test", "lan")
	reach := func() {
		t.Helper()
		for _, a := range addresses {
			post(t, n.DialContext, a+":80", 1<<20)
		}
		own := n.Addresses()[0].Addr().String()
		ping := exec.Command("ping", "-c", "1", "-W", "5", own)
		ping.Env = os.Environ()
		var out bytes.Buffer
		ping.Stdout, ping.Stderr = &out, &out
		if err := world.Start(ping); err != nil {
			t.Fatal(err)
		}
		if err := ping.Wait(); err != nil {
			t.Errorf("ping %s: %v\n%s", own, err, out.String())
		}
	}
	reach()
	s.KillServer("net")
	reach()
	before := s.State0().Uplinks[0]
	s.KillServer(before.Name)
	s.Until("another uplink serves", func(state *supervisor.State) bool {
		return state.Uplinks[0].Serving && state.Uplinks[0].PID != before.PID
	})
	reach()
}

// State0 is the state of a system that must answer.
func (s *System) State0() *supervisor.State {
	s.t.Helper()
	state, err := s.State()
	if err != nil {
		s.t.Fatal(err)
	}
	return state
}

// TestTAPUplink: the host itself is a neighbour of the applications. The interface
// outlives a supervisor that was killed, with its addresses, and not one that ended.
func TestTAPUplink(t *testing.T) {
	system := linktest.NewNamespace(t)
	s := UpIn(t, system, program, `version: 1
servers: {net: {kind: network}}
networks: {lan: {server: net}}
uplinks: {host: {network: lan, kind: tap, interface: quintet0, queues: 2}}
applications: {test: {networks: {lan: {}}}}
`)
	if err := system.Configure(netns.Interface{Name: "quintet0", Addresses: prefixes("10.77.0.200/24", "fd00:7175:696e::200/64")}); err != nil {
		t.Fatal(err)
	}
	neighbours(t, s, system, "10.77.0.200", "[fd00:7175:696e::200]")
	s.KillSupervisor()
	s.start(program)
	n := s.Network("test", "lan")
	post(t, n.DialContext, "10.77.0.200:80", 1<<20)
	s.Down()
	if _, err := system.Index("quintet0"); err == nil {
		t.Error("the interface is there after an orderly end")
	}
	s.start(program) // for the end of the test
}

// TestMissingInterface: what an uplink lacks is an error of `up`, with a remedy.
func TestMissingInterface(t *testing.T) {
	for _, c := range []struct{ uplink, want string }{
		{"kind: packet, interface: nothere", "ip link"},
		{"kind: xdp, interface: nothere", "ip link"},
		{"kind: xdp, interface: lo, mode: native", "lo"},
	} {
		testenv.RequireRoot(t)
		dir := shortDir(t)
		file := filepath.Join(dir, "quintet.yaml")
		text := "version: 1\nservers: {net: {kind: network}}\nnetworks: {lan: {server: net}}\nuplinks: {u: {network: lan, " + c.uplink + "}}\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		up := exec.Command(program, "up", "--state", dir, "--file", file)
		out, said, status := result(t, up)
		if status != 1 || !strings.Contains(said, c.want) || !strings.Contains(said, "uplink u") {
			t.Errorf("%s: status %d, %q, %q", c.uplink, status, out, said)
		}
	}
}

// TestPortInUse: a published port that somebody else has is an error of `up`.
func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := shortDir(t)
	file := filepath.Join(dir, "quintet.yaml")
	text := "version: 1\nservers: {net: {kind: network}}\nnetworks: {lan: {server: net}}\nuplinks: {u: {network: lan, kind: user}}\n" +
		"applications: {web: {networks: {lan: {publish: [\"" + l.Addr().String() + ":80\"]}}}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, said, status := result(t, exec.Command(program, "up", "--state", dir, "--file", file)); status != 1 || !strings.Contains(said, "publish "+l.Addr().String()) {
		t.Errorf("status %d, %q", status, said)
	}
}
