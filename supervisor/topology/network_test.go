package topology

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/network"
)

func prefixes(all ...string) []netip.Prefix {
	var parsed []netip.Prefix
	for _, each := range all {
		parsed = append(parsed, netip.MustParsePrefix(each))
	}
	return parsed
}

// What TestExampleIsComplete expects of docs/quintet.yaml.
var (
	exampleNetworks = []Network{
		{Name: "lan", Server: "net", MTU: 1500, Subnets: prefixes("10.77.0.0/24", "fd00:7175:696e::/64")},
		{Name: "office", Server: "net", MTU: 1500},
		{Name: "plant", Server: "net", MTU: 1500, Subnets: prefixes("192.168.7.0/24"), Gateways: []netip.Addr{netip.MustParseAddr("192.168.7.1")},
			Resolvers: []netip.AddrPort{netip.MustParseAddrPort("192.168.7.1:53"), netip.MustParseAddrPort("192.168.7.2:5353")}},
	}
	exampleUplinks = []Uplink{
		{Name: "world", Network: "lan", Kind: User, Queues: 1, Rate: 100 << 20, Memory: 64 << 20,
			Resolvers: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.53:53"), netip.MustParseAddrPort("[fd00::53]:5353")}},
		{Name: "host", Network: "lan", Kind: TAP, Interface: "quintet0", Queues: 2, VLAN: 10, Trunk: []uint16{20, 30}},
		{Name: "cable", Network: "office", Kind: Packet, Interface: "eth1", Queues: 1, DHCP: true},
		{Name: "fast", Network: "office", Kind: XDP, Interface: "eth2", Queues: 1, Mode: XDPNative},
	}
	examplePorts = []Port{
		{To: "web", Network: "lan", MAC: network.MAC{2, 0, 0, 0, 0, 1}, Group: 1, VLAN: 10, Trunk: []uint16{20}, Rate: 10 << 20,
			Addresses: []netip.Addr{netip.MustParseAddr("10.77.0.10"), netip.MustParseAddr("fd00:7175:696e::10")},
			Publish: []Publish{
				{TCP, netip.MustParseAddrPort("0.0.0.0:8080"), 80, false},
				{UDP, netip.MustParseAddrPort("127.0.0.1:5353"), 53, false},
				{TCP, netip.MustParseAddrPort("[::1]:8443"), 443, false},
				{TCP, netip.MustParseAddrPort("0.0.0.0:9090"), 90, true},
			}},
		{To: "web", Network: "office"},
	}
)

func TestSubnetsAreAssignedInTheOrderOfTheFile(t *testing.T) {
	got, err := Parse("t", []byte(`
uplinks: {world: {network: leased, kind: tap, interface: t0, dhcp: true}}
networks:
  first: {server: n}
  none: {server: n, subnets: []}
  own: {server: n, subnets: [192.168.0.0/30]}
  leased: {server: n}
  unset: {server: n, subnets: }
servers: {n: {kind: network}}
`))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]netip.Prefix{
		"first":  prefixes("10.77.0.0/24", "fd00:7175:696e::/64"),
		"none":   nil,
		"own":    prefixes("192.168.0.0/30"),
		"leased": nil,
		"unset":  prefixes("10.77.4.0/24", "fd00:7175:696e:4::/64"),
	} {
		if w, ok := got.NetworkOf(name); !ok || !reflect.DeepEqual(w.Subnets, want) {
			t.Errorf("network %s has subnets %v, want %v", name, w.Subnets, want)
		}
	}
	if all := got.NetworksOf("n"); len(all) != 5 || got.NetworksOf("x") != nil {
		t.Errorf("server n has networks %v", all)
	}
	if u := got.UplinksOf("leased"); len(u) != 1 || u[0].Name != "world" || got.UplinksOf("none") != nil {
		t.Errorf("network leased has uplinks %v", u)
	}
	if _, ok := got.UserUplink("leased"); ok {
		t.Error("a TAP is taken for an uplink of kind user")
	}
}

func TestPortsAreGrantedByNetworksSectionsOnly(t *testing.T) {
	got, err := Parse("t", []byte("servers: {n: {kind: network}}\nnetworks: {lan: {server: n}, wan: {server: n}}\napplications: {web: {networks: {lan: }}, idle: {networks: }}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := got.Port("web", "lan"); !ok || !reflect.DeepEqual(p, Port{To: "web", Network: "lan"}) {
		t.Errorf("port of web in lan: %+v, %v", p, ok)
	}
	for _, pair := range [][2]string{{"web", "wan"}, {"idle", "lan"}} {
		if p, ok := got.Port(pair[0], pair[1]); ok {
			t.Errorf("nobody said so: %+v", p)
		}
	}
}

// text puts lines in a file with a server n and a network lan, in line 2.
func text(lines string) string {
	return "servers: {n: {kind: network}, disk: {kind: storage}}\nnetworks: {lan: {server: n}}\n" + lines
}

func manyNetworks(n int) string {
	var b strings.Builder
	b.WriteString("servers: {n: {kind: network}}\nnetworks:\n")
	for i := range n {
		fmt.Fprintf(&b, "  net%d: {server: n}\n", i)
	}
	return b.String()
}

func TestNetworkErrorsNameLineColumnKeyAndRemedy(t *testing.T) {
	const (
		servers  = "servers: {n: {kind: network}, disk: {kind: storage}}\n"
		networks = servers + "networks:\n  lan: {server: n, "
		subnets  = networks + "subnets: ["
		user     = "uplinks: {u: {network: lan, kind: user}}\n"
	)
	uplink := func(keys string) string { return text("uplinks:\n  u: {network: lan, " + keys + "}\n") }
	port := func(keys string) string {
		return text(user + "applications:\n  web: {networks: {lan: {" + keys + "}}}\n")
	}
	for _, c := range []struct{ name, text, want string }{
		{"misspelt key", networks + "mtv: 1500}\n", `q.yaml:3:25: networks.lan.mtv: unknown key; did you mean "mtu"? (allowed: server, mtu, subnets, gateways, resolvers)`},
		{"no server", servers + "networks: {lan: {}}\n", "q.yaml:2:17: networks.lan: has no server; name the network server that switches it"},
		{"unknown server", servers + "networks: {lan: {server: m}}\n", `networks.lan.server: no server is called "m"; did you mean "n"? (allowed: n)`},
		{"server of another kind", servers + "networks: {lan: {server: disk}}\n", `q.yaml:2:26: networks.lan.server: server "disk" is of kind storage, and this needs one of kind network; allowed: n`},
		{"volume on a network server", servers + "volumes: {v: {server: n, memory: 1MiB}}\n", `volumes.v.server: server "n" is of kind network, and this needs one of kind storage; allowed: disk`},
		{"no storage server", "servers: {n: {kind: network}}\nvolumes: {v: {server: n, memory: 1MiB}}\n", `server "n" is of kind network, and this needs one of kind storage; none is declared`},
		{"small MTU", networks + "mtu: 1279}\n", `networks.lan.mtu: is "1279"; allowed: a whole number from 1280 to 65521`},
		{"large MTU", networks + "mtu: 65522}\n", `is "65522"; allowed: a whole number from 1280 to 65521`},
		{"no subnet", subnets + "10.0.0.1]}\n", `q.yaml:3:30: networks.lan.subnets[0]: is "10.0.0.1"; allowed: a subnet such as 10.77.0.0/24 or fd00:`},
		{"list as subnet", subnets + "[]]}\n", `subnets[0]: is a list; allowed: a subnet`},
		{"host bits", subnets + "10.1.2.3/16]}\n", "has bits set beyond its prefix; the subnet is 10.1.0.0/16"},
		{"wide IPv4", subnets + "8.0.0.0/7]}\n", "has a prefix of 7 bits; allowed: 8 to 30"},
		{"narrow IPv4", subnets + "10.0.0.0/31]}\n", "has a prefix of 31 bits; allowed: 8 to 30"},
		{"narrow IPv6", subnets + "fd00::/127]}\n", "has a prefix of 127 bits; allowed: 8 to 126"},
		{"mapped", subnets + "'::ffff:10.0.0.0/120']}\n", "allowed: a subnet such as"},
		{"loopback", subnets + "127.0.0.0/16]}\n", "overlaps 127.0.0.0/8, which is reserved"},
		{"multicast", subnets + "ff02::/64]}\n", "overlaps ff00::/8, which is reserved"},
		{"gateway", networks + "gateways: [10.77.0.1, 10.77.0.2]}\n", "networks.lan.gateways[1]: is the second of its family"},
		{"gateway's form", networks + "gateways: [router]}\n", "allowed: the address of a router"},
		{"gateway elsewhere", networks + "gateways: [10.1.0.1]}\n", "gateway 10.1.0.1 is in no subnet of network \"lan\""},
		{"gateway and uplink", networks + "gateways: [10.77.0.1]}\nuplinks: {w: {network: lan, kind: user}}\n", "the gateway of network \"lan\" is its uplink \"w\""},
		{"two of a family", subnets + "10.0.0.0/24, 10.1.0.0/24]}\n", "q.yaml:3:43: networks.lan.subnets[1]: is the second of its family"},
		{"overlap", subnets + "10.0.0.0/8]}\n  wan: {server: n, subnets: [10.3.0.0/16]}\n", `q.yaml:4:29: networks.wan.subnets: its subnet 10.3.0.0/16 overlaps 10.0.0.0/8 of network "lan"`},
		{"overlap with a default", subnets + "10.77.0.0/16]}\n  wan: {server: n}\n", `q.yaml:4:8: networks.wan: its default subnet 10.77.1.0/24 overlaps 10.77.0.0/16 of network "lan"; give it another`},
		{"overlap of a default", networks + "}\n  wan: {server: n, subnets: [10.0.0.0/8]}\n", `q.yaml:4:29: networks.wan.subnets: its subnet 10.0.0.0/8 overlaps 10.77.0.0/24 of network "lan"`},
		{"the same twice", subnets + "fd01::/64]}\n  wan: {server: n, subnets: [fd01::/64]}\n", `its subnet fd01::/64 overlaps fd01::/64 of network "lan"`},
		{"many networks", manyNetworks(257), "q.yaml:259:11: networks.net256: has no subnets; only the first 256 networks"},

		{"no network", text("uplinks: {u: {kind: user}}\n"), "q.yaml:3:14: uplinks.u: has no network; name the one"},
		{"unknown network", text("uplinks: {u: {network: len, kind: user}}\n"), `uplinks.u.network: no network is called "len"; did you mean "lan"? (allowed: lan)`},
		{"no kind", text("uplinks: {u: {network: lan}}\n"), "uplinks.u: has no kind; allowed: user, tap, packet, xdp"},
		{"kind", uplink("kind: uesr"), `q.yaml:4:27: uplinks.u.kind: is "uesr"; did you mean "user"? (allowed: user, tap, packet, xdp)`},
		{"misspelt uplink key", uplink("kind: user, resolver: []"), `uplinks.u.resolver: unknown key; did you mean "resolvers"?`},
		{"tap without interface", uplink("kind: tap"), "q.yaml:4:6: uplinks.u: has no interface; say how the one that is made shall be called"},
		{"packet without interface", uplink("kind: packet"), "uplinks.u: has no interface; name the one of the host that it takes"},
		{"interface of user", uplink("kind: user, interface: e"), "uplinks.u.interface: is not for uplinks of kind user, only for tap, packet, xdp"},
		{"queues of packet", uplink("kind: packet, interface: e, queues: 1"), "uplinks.u.queues: is not for uplinks of kind packet, only for tap, xdp"},
		{"mode of tap", uplink("kind: tap, interface: e, mode: native"), "uplinks.u.mode: is not for uplinks of kind tap, only for xdp"},
		{"DHCP of user", uplink("dhcp: true, kind: user"), "uplinks.u.dhcp: is not for uplinks of kind user, only for tap, packet, xdp"},
		{"resolvers of xdp", uplink("kind: xdp, interface: e, resolvers: []"), "uplinks.u.resolvers: is not for uplinks of kind xdp, only for user"},
		{"queues", uplink("kind: xdp, interface: e, queues: 9"), `is "9"; allowed: a whole number from 1 to 8`},
		{"mode", uplink("kind: xdp, interface: e, mode: fast"), `is "fast"; allowed: native, generic`},
		{"long interface", uplink("kind: tap, interface: abcdefghijklmnop"), `is "abcdefghijklmnop"; allowed: the name of an interface, at most 15 bytes`},
		{"slash in interface", uplink("kind: tap, interface: a/b"), `is "a/b"; allowed: the name of an interface`},
		{"space in interface", uplink("kind: tap, interface: a b"), `is "a b"; allowed: the name of an interface`},
		{"pattern as interface", uplink("kind: tap, interface: tap%d"), `is "tap%d"; allowed: the name of an interface`},
		{"resolver", uplink("kind: user, resolvers: [dns.example]"), `q.yaml:4:45: uplinks.u.resolvers[0]: is "dns.example"; allowed: the address of a resolver, such as 10.0.0.53`},
		{"resolver at port 0", uplink("kind: user, resolvers: ['10.0.0.1:0']"), `is "10.0.0.1:0"; allowed: the address of a resolver`},
		{"many resolvers", uplink("kind: user, resolvers: [" + strings.Repeat("10.0.0.1,", 9) + "]"), "has 9 resolvers, at most 8 are allowed"},
		{"rate", uplink("kind: user, rate: 1000"), `uplinks.u.rate: is "1000", less than the least allowed, 1KiB`},
		{"uplink's memory", uplink("kind: user, memory: 1MiB"), "less than the least allowed, 16MiB"},
		{"VLAN", uplink("kind: user, vlan: 4095"), `uplinks.u.vlan: is "4095"; allowed: a whole number from 0 to 4094`},
		{"trunk", uplink("kind: user, trunk: [0]"), `uplinks.u.trunk[0]: is "0"; allowed: a whole number from 1 to 4094`},
		{"trunk twice", uplink("kind: user, trunk: [7, 7]"), "uplinks.u.trunk: trunk VLAN 7 is 0, beyond 4094, untagged too, or there twice"},
		{"trunk untagged too", uplink("kind: user, vlan: 7, trunk: [7]"), "uplinks.u.trunk: trunk VLAN 7 is"},
		{"two of kind user", text("uplinks:\n  a: {network: lan, kind: user}\n  b: {network: lan, kind: user}\n"), `q.yaml:5:6: uplinks.b: network "lan" has an uplink of kind user already, "a"; one is allowed`},
		{"two with DHCP", text("uplinks:\n  a: {network: lan, kind: tap, interface: a, dhcp: true}\n  b: {network: lan, kind: tap, interface: b, dhcp: true}\n"), `network "lan" has an uplink with dhcp already, "a"; one is allowed`},
		{"one interface for two", text("uplinks:\n  a: {network: lan, kind: packet, interface: e}\n  b: {network: lan, kind: xdp, interface: e}\n"), `q.yaml:5:6: uplinks.b: interface "e" is that of uplink "a" already`},
		{"DHCP and subnets", subnets + "10.0.0.0/8]}\nuplinks: {u: {network: lan, kind: tap, interface: e, dhcp: true}}\n", `q.yaml:3:29: networks.lan.subnets: the addresses of network "lan" come by DHCP from its uplink "u"; give it no subnets, or the uplink no dhcp`},
		{"user without subnets", subnets + "]}\n" + user, `q.yaml:4:14: uplinks.u: network "lan" has no subnets, and an uplink of kind user needs an address in one`},
		{"user and DHCP", text("uplinks:\n  a: {network: lan, kind: user}\n  b: {network: lan, kind: tap, interface: e, dhcp: true}\n"), `uplinks.a: network "lan" has no subnets`},
		{"uplink called like a server", text("uplinks: {n: {network: lan, kind: user}}\n"), `uplinks.n: a server is called "n" too`},

		{"port in no network", text("applications: {web: {networks: {len: {}}}}\n"), `q.yaml:3:38: applications.web.networks.len: no network is called "len"; did you mean "lan"?`},
		{"no DNS label", text("applications: {web.v2: {networks: {lan: {}}}}\n"), `q.yaml:3:35: applications.web.v2.networks: application "web.v2" would be reached by its name, which is no DNS label: on networks use a-z 0-9 - only`},
		{"underscore", text("applications: {a_b: {networks: {lan: {}}}}\n"), `application "a_b" would be reached by its name, which is no DNS label`},
		{"misspelt port key", port("adresses: []"), `unknown key; did you mean "addresses"? (allowed: addresses, mac, group, vlan, trunk, rate, publish)`},
		{"address", port("addresses: [10.77.0]"), `q.yaml:5:38: applications.web.networks.lan.addresses[0]: is "10.77.0"; allowed: an address such as 10.77.0.10`},
		{"address with a zone", port("addresses: ['fd00::1%eth0']"), "allowed: an address such as"},
		{"unusable address", port("addresses: ['fe80::1']"), "fe80::1 cannot be an application's own address"},
		{"mapped address", port("addresses: ['::ffff:10.77.0.9']"), "cannot be an application's own address"},
		{"foreign address", port("addresses: [10.78.0.1]"), `q.yaml:5:38: applications.web.networks.lan.addresses[0]: 10.78.0.1 is in no subnet of network "lan"; allowed: 10.77.0.0/24, fd00:7175:696e::/64`},
		{"address of the subnet", port("addresses: [10.77.0.0]"), "10.77.0.0 is that of the subnet 10.77.0.0/24 itself"},
		{"broadcast address", port("addresses: [10.77.0.255]"), "10.77.0.255 is the broadcast address of the subnet 10.77.0.0/24"},
		{"the uplink's address", port("addresses: ['fd00:7175:696e::1']"), `fd00:7175:696e::1 is that of the user uplink of network "lan"`},
		{"address twice", port("addresses: [10.77.0.9, 10.77.0.9]"), `addresses[1]: 10.77.0.9 is that of application "web" in network "lan" already`},
		{"many addresses", port("addresses: [" + strings.Repeat("10.77.0.9,", 65) + "]"), "has 65 addresses, at most 64 are allowed"},
		{"address of another", text("applications:\n  a: {networks: {lan: {addresses: [10.77.0.9]}}}\n  b: {networks: {lan: {addresses: [10.77.0.9]}}}\n"), `q.yaml:5:36: applications.b.networks.lan.addresses[0]: 10.77.0.9 is that of application "a" in network "lan" already`},
		{"MAC of another", text("applications:\n  a: {networks: {lan: {mac: '02:00:00:00:00:01'}}}\n  b: {networks: {lan: {mac: 02-00-00-00-00-01}}}\n"), `02:00:00:00:00:01 is that of application "a" in network "lan" already`},
		{"MAC", port("mac: 02:00"), `applications.web.networks.lan.mac: is "02:00"; allowed: an Ethernet address such as 02:00:00:00:00:01`},
		{"MAC of a group", port("mac: 03:00:00:00:00:01"), "is 03:00:00:00:00:01, which stands for many or nobody"},
		{"group", port("group: -1"), `is "-1"; allowed: a whole number from 0`},
		{"port's trunk", port("vlan: 3, trunk: [3]"), "applications.web.networks.lan.trunk: trunk VLAN 3 is"},
		{"port's rate", port("rate: 1B"), "less than the least allowed, 1KiB"},
		{"proxy of udp", port("publish: ['1:2/udp+proxy']"), `publish[0]: is "1:2/udp+proxy"; allowed: host port:port`},
		{"publish", port("publish: [8080]"), `q.yaml:5:36: applications.web.networks.lan.publish[0]: is "8080"; allowed: host port:port, such as 8080:80, 127.0.0.1:5353:53/udp`},
		{"publish by name", port("publish: ['localhost:8080:80']"), `is "localhost:8080:80"; allowed: host port:port`},
		{"publish another protocol", port("publish: ['8080:80/sctp']"), `is "8080:80/sctp"; allowed`},
		{"publish port 0", port("publish: ['0:80']"), `is "0:80"; allowed`},
		{"publish port 65536", port("publish: ['80:65536']"), `is "80:65536"; allowed`},
		{"published twice", port("publish: ['80:1', '80:2/udp', '80:3/tcp']"), `publish[2]: port 80 of tcp is published for application "web" already, at 0.0.0.0:80`},
		{"published at any and at one", port("publish: ['127.0.0.1:80:1', '127.0.0.2:80:1', '[::]:80:1']"), `publish[2]: port 80 of tcp is published for application "web" already, at 127.0.0.1:80`},
		{"publish without a user uplink", text("applications:\n  web: {networks: {lan: {publish: ['80:80']}}}\n"), `q.yaml:4:35: applications.web.networks.lan.publish: network "lan" has no uplink of kind user, which is what ports are published through`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("q.yaml", []byte(c.text))
			var all Errors
			if !errors.As(err, &all) {
				t.Fatalf("error %v, want Errors", err)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got\n%v\nwant it to contain\n%s", err, c.want)
			}
			if len(all) > 1 {
				t.Errorf("one thing is wrong, %d errors are reported:\n%v", len(all), err)
			}
		})
	}
}
