package test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/quintet-os/quintet/internal/netns"
	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/network/link/linktest"
	"github.com/quintet-os/quintet/supervisor"
)

// outside are the addresses of the world, on the system's network, and outsideMAC is that
// of its interface, whenever it is made: for half a minute or more nobody looks for a
// neighbour that has become another.
var (
	outside    = prefixes("10.77.0.200/24", "fd00:7175:696e::200/64")
	outsideMAC = net.HardwareAddr{2, 0, 0, 0, 0, 200}
)

// ip runs ip(8) in a namespace.
func ip(t *testing.T, n *netns.Namespace, args ...string) {
	t.Helper()
	run := exec.Command("ip", args...)
	var said strings.Builder
	run.Stdout, run.Stderr = &said, &said
	err := n.Start(run)
	if err == nil {
		err = run.Wait()
	}
	if err != nil {
		t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, said.String())
	}
}

// path is the file of a namespace.
func path(n *netns.Namespace) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.Fd()) }

// troubled waits until the only uplink says so of its interface, and whether it serves.
func (s *System) troubled(trouble string, serving bool) {
	s.t.Helper()
	s.Until(fmt.Sprintf("the uplink says %q", trouble), func(state *supervisor.State) bool {
		u := state.Uplinks[0]
		return u.Serving == serving && (u.Trouble == trouble || trouble != "" && strings.HasPrefix(u.Trouble, trouble))
	})
}

const oneUplink = `version: 1
servers: {net: {kind: network}}
networks: {lan: {server: net}}
uplinks: {world: {network: lan, %s}}
applications: {test: {networks: {lan: {}}}}
`

// TestInterfacesThatComeBack: whatever becomes of an uplink's interface, the uplink uses
// it again when there is one of its name, and says what it waits for until then.
// Connections over it go on.
func TestInterfacesThatComeBack(t *testing.T) {
	for name, kind := range map[string]string{
		"packet": "kind: packet", "xdp native": "kind: xdp, mode: native", "xdp generic": "kind: xdp, mode: generic",
	} {
		t.Run(name, func(t *testing.T) {
			system, world, elsewhere := linktest.NewNamespace(t), linktest.NewNamespace(t), linktest.NewNamespace(t)
			lay := func() {
				t.Helper()
				far := netns.Interface{Name: "cable", MAC: outsideMAC, Addresses: outside}
				if err := system.Veth(netns.Interface{Name: "cable"}, world, far); err != nil {
					t.Fatal(err)
				}
				if err := world.Do(func() error { return unix.SetTransmitChecksums("cable", false) }); err != nil {
					t.Fatal(err)
				}
			}
			lay()
			s := UpIn(t, system, program, fmt.Sprintf(oneUplink, kind+", interface: cable"))
			k := startTalk(t, s.Network("test", "lan"), world, outside[0].Addr())

			ip(t, system, "link", "set", "cable", "down")
			s.troubled("interface cable is down", true)
			ip(t, system, "link", "set", "cable", "up")
			s.troubled("", true)
			k.goesOn()

			ip(t, system, "link", "set", "cable", "mtu", "1400")
			s.troubled("interface cable has an MTU of 1400", true)
			ip(t, system, "link", "set", "cable", "mtu", "1500")
			s.troubled("", true)
			k.goesOn()

			ip(t, system, "link", "delete", "cable")
			s.troubled("waiting for interface cable", false)
			out, _, _ := s.quintet("ps")
			if !strings.Contains(out, "uplink world: waiting for interface cable") {
				t.Errorf("ps says\n%s", out)
			}
			if _, said, status := s.quintet("restart", "world"); status == 0 || !strings.Contains(said, "waiting for interface cable") {
				t.Errorf("restart: status %d, %s", status, said)
			}
			lay()
			s.troubled("", true)
			k.goesOn()

			ip(t, system, "link", "set", "cable", "down")
			ip(t, system, "link", "set", "cable", "name", "other")
			s.troubled("waiting for interface cable", false)
			ip(t, system, "link", "set", "other", "name", "cable")
			s.troubled("interface cable is down", true)
			ip(t, system, "link", "set", "cable", "up")
			s.troubled("", true)
			k.goesOn()

			// Moved away, and back before anybody looks, it has the number that it had.
			before := s.uplink("world").PID
			stop(t, s.up.Process.Pid)
			ip(t, system, "link", "set", "cable", "netns", path(elsewhere))
			ip(t, elsewhere, "link", "set", "cable", "netns", path(system))
			if err := s.up.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			s.Until("another process serves", func(state *supervisor.State) bool {
				return state.Uplinks[0].Serving && state.Uplinks[0].PID != before
			})
			ip(t, system, "link", "set", "cable", "up")
			s.troubled("", true)
			k.goesOn()
		})
	}
}

// TestTAPsThatComeBack: the same with a TAP of somebody else's; one of the supervisor's
// own is made again.
func TestTAPsThatComeBack(t *testing.T) {
	for _, own := range []bool{true, false} {
		t.Run(map[bool]string{true: "own", false: "foreign"}[own], func(t *testing.T) {
			system := linktest.NewNamespace(t)
			var mac net.HardwareAddr // one of its own keeps what it has
			if !own {
				mac = outsideMAC
				ip(t, system, "tuntap", "add", "dev", "tap0", "mode", "tap")
			}
			s := UpIn(t, system, program, fmt.Sprintf(oneUplink, "kind: tap, interface: tap0"))
			address := func() {
				t.Helper()
				if err := system.Configure(netns.Interface{Name: "tap0", MAC: mac, Addresses: outside}); err != nil {
					t.Fatal(err)
				}
			}
			address()
			k := startTalk(t, s.Network("test", "lan"), system, outside[0].Addr())

			ip(t, system, "link", "set", "tap0", "down")
			s.troubled("interface tap0 is down", true)
			ip(t, system, "link", "set", "tap0", "up")
			s.troubled("", true)
			k.goesOn()

			before, pid := s.uplink("world"), 0
			ip(t, system, "link", "delete", "tap0")
			if own {
				s.Until("another process serves", func(state *supervisor.State) bool {
					pid = state.Uplinks[0].PID
					return state.Uplinks[0].Serving && pid != before.PID
				})
			} else {
				s.troubled("waiting for interface tap0", false)
				ip(t, system, "tuntap", "add", "dev", "tap0", "mode", "tap")
			}
			s.troubled("", true)
			address()
			k.goesOn()

			ip(t, system, "link", "set", "tap0", "down")
			ip(t, system, "link", "set", "tap0", "name", "other")
			if !own {
				s.troubled("waiting for interface tap0", false)
				ip(t, system, "link", "set", "other", "name", "tap0")
				s.troubled("", true)
			} else {
				s.Until("another process serves", func(state *supervisor.State) bool {
					return state.Uplinks[0].Serving && state.Uplinks[0].PID != pid
				})
				if _, err := system.Index("other"); err == nil {
					t.Error("what the interface was renamed to has stayed")
				}
				address()
			}
			k.goesOn()
		})
	}
}
