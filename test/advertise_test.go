package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/internal/netns"
	"github.com/quintet-os/quintet/network/link/linktest"
)

// advertise is a program that tells everybody behind an interface that it is a router,
// for a prefix of which they may make addresses (RFC 4861, 4.2; RFC 4862), and then
// sends a datagram.
func advertise(device, then string) []string {
	return []string{"python3", "-c", fmt.Sprintf(`import socket, struct
i = socket.if_nametoindex("%s")
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, i)
router = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xc0, 86400, 14400, 0) + socket.inet_pton(socket.AF_INET6, "2001:db8:1::")
s.sendto(router + prefix, ("ff02::1", 0, 0, i))
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"now", ("%s", 9))`, device, then)}
}

// TestRouterAdvertisements: what routers advertise, behind an uplink, changes neither the
// addresses nor the routes of a program under run --compat, which are those of the
// topology. Other ports cannot advertise at all.
func TestRouterAdvertisements(t *testing.T) {
	system, world := linktest.NewNamespace(t), linktest.NewNamespace(t)
	cable(t, system, world, nil, outside)
	s := UpIn(t, system, program, `version: 1
servers: {net: {kind: network}}
networks: {lan: {server: net}}
uplinks: {world: {network: lan, kind: packet, interface: cable}}
applications:
  listener: {networks: {lan: {addresses: [10.77.0.9, "fd00:7175:696e::9"]}}}
  rogue: {networks: {lan: {}}}
`)
	const listener = "10.77.0.9"
	fromWorld := func() *exec.Cmd {
		args := advertise("cable", listener)
		return exec.Command(args[0], args[1:]...)
	}
	fromPort := func() *exec.Cmd {
		args := s.compat("rogue", advertise("eth0", listener)...)
		return exec.Command(args[0], args[1:]...)
	}
	for _, c := range []struct {
		name   string
		accept string // what the program does to its interface
		from   *netns.Namespace
		send   *exec.Cmd
		heard  bool
	}{
		{"from outside", "", world, fromWorld(), false},
		{"from outside, to a program that asks for it", "echo 2 >/proc/sys/net/ipv6/conf/eth0/accept_ra;", world, fromWorld(), true},
		{"from another port", "echo 2 >/proc/sys/net/ipv6/conf/eth0/accept_ra;", system, fromPort(), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			there := filepath.Join(t.TempDir(), "there")
			args := s.compat("listener", "sh", "-c", c.accept+fmt.Sprintf(`python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 9))
s.settimeout(%d)
open("%s", "w").close()
s.recv(100)'; ip -6 address show dev eth0; ip -6 route`, int(patience.Seconds()), there))
			listen := exec.Command(args[0], args[1:]...)
			var saw bytes.Buffer
			listen.Stdout, listen.Stderr = &saw, os.Stderr
			if err := listen.Start(); err != nil {
				t.Fatal(err)
			}
			appears(t, there)
			c.send.Stderr = os.Stderr
			if err := c.from.Start(c.send); err != nil {
				t.Fatal(err)
			}
			if err := c.send.Wait(); err != nil {
				t.Fatal(err)
			}
			if err := listen.Wait(); err != nil {
				t.Fatal(err)
			}
			address, route := strings.Contains(saw.String(), "2001:db8:1:"), strings.Contains(saw.String(), "default via fe80:")
			if address != c.heard || route != c.heard {
				t.Errorf("an address of the prefix: %t, a route by the router: %t, want %t\n%s", address, route, c.heard, saw.String())
			}
		})
	}
}
