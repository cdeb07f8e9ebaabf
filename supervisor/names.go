package supervisor

import (
	"bufio"
	"cmp"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/network/dns"
)

// resolve returns what the network says of a name: the addresses of a domain, of all its
// ports, beginning with another port each time; or the names of an address. Names may
// end with that of the network. The names of declared applications, those that end with
// the network's, and those of addresses in its subnets are the network's own, whether
// or not there is anybody of that name now.
func (f *fabric) resolve(name string) broker.Resolved {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	zone := strings.ToLower(f.Name)
	if a, ok := dns.Reverse(name); ok {
		return f.reverse(a, zone)
	}
	short, own := strings.CutSuffix(name, "."+zone)
	answer := broker.Resolved{Own: own || f.declares(short)}
	var found []*port
	for p := range f.ports {
		if strings.ToLower(p.name) == short {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(p, q *port) int {
		return slices.CompareFunc(p.config.Addresses, q.config.Addresses, netip.Addr.Compare)
	})
	for i := range found {
		answer.Addresses = append(answer.Addresses, found[(i+f.turn)%len(found)].config.Addresses...)
	}
	f.turn++
	answer.Own = answer.Own || len(found) > 0
	return answer
}

func (f *fabric) reverse(a netip.Addr, zone string) (answer broker.Resolved) {
	answer.Own = slices.ContainsFunc(f.Subnets, func(s netip.Prefix) bool { return s.Contains(a) })
	for p := range f.ports {
		if slices.Contains(p.config.Addresses, a) {
			answer.Own, answer.Names = true, []string{strings.ToLower(p.name) + "." + zone}
		}
	}
	return answer
}

// declares tells whether an application of that name, in lower case, may have a port.
func (f *fabric) declares(name string) bool {
	for _, p := range f.server.sup.config.Topology.Ports {
		if p.Network == f.Name && strings.ToLower(p.To) == name {
			return true
		}
	}
	return false
}

// tellResolvers answers with those of the host, which an uplink cannot read. The file
// may be on whatever file system, so nobody waits for it but the asker.
func (a *application) tellResolvers(ref uint64) error {
	path := cmp.Or(a.sup.config.ResolvConf, resolvConf)
	go func() {
		found := hostResolvers(path)
		a.sup.mu.Lock()
		defer a.sup.mu.Unlock()
		a.reply(ref, &broker.HostResolvers{Addresses: found})
	}()
	return nil
}

const dnsPort = 53

// resolversMax is how many the C library's resolver reads (MAXNS).
const resolversMax = 3

// resolvConf is where hosts keep their resolvers (resolv.conf(5)).
const resolvConf = "/etc/resolv.conf"

// hostResolvers are those of a file in the form of resolv.conf(5). Without it, only the
// names of domains are known.
func hostResolvers(path string) []netip.AddrPort {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var found []netip.AddrPort
	for lines := bufio.NewScanner(f); lines.Scan() && len(found) < resolversMax; {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil {
			found = append(found, netip.AddrPortFrom(a, dnsPort))
		}
	}
	return found
}
