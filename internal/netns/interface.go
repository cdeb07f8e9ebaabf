package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
)

const (
	// readyMax is how long an address may take to be in use.
	readyMax   = 10 * time.Second
	changesMax = 64
	routeLocal = 2 // RTN_LOCAL of linux/rtnetlink.h
)

// noDAD is IFA_F_NODAD of linux/if_addr.h: use the address at once.
const noDAD = 0x02

// Interface is how an interface is to be set up.
type Interface struct {
	Name      string
	MAC       net.HardwareAddr // nil: as it is
	MTU       int              // bytes; 0: as it is
	Addresses []netip.Prefix
	Gateways  []netip.Addr // of the default routes, at most one a family
}

// Veth makes a pair of interfaces that are the ends of one cable, a here and b in
// the namespace peer, and sets both up.
func (n *Namespace) Veth(a Interface, peer *Namespace, b Interface) error {
	err := n.Do(func() error {
		attributes := netlink.NewLinkAttrs()
		attributes.Name = a.Name
		pair := netlink.NewVeth(attributes)
		pair.PeerName, pair.PeerNamespace = b.Name, netlink.NsFd(peer.Fd())
		return netlink.LinkAdd(pair)
	})
	if err != nil {
		return fmt.Errorf("make the interfaces %s and %s: %w", a.Name, b.Name, err)
	}
	// Neither has a carrier before the other is up.
	if err := errors.Join(n.do(a, a.raise), peer.do(b, b.raise)); err != nil {
		return err
	}
	return errors.Join(n.do(a, a.address), peer.do(b, b.address))
}

// Raise sets an interface of the caller's own namespace up, with a MAC unless it is nil.
func Raise(name string, mac net.HardwareAddr, mtu int) error {
	link, err := netlink.LinkByName(name)
	if err == nil && mac != nil {
		err = netlink.LinkSetHardwareAddr(link, mac)
	}
	if err == nil {
		err = errors.Join(netlink.LinkSetMTU(link, mtu), netlink.LinkSetUp(link))
	}
	if err != nil {
		return fmt.Errorf("set up interface %s: %w", name, err)
	}
	return nil
}

// Alias returns what an interface of the caller's own namespace is also called, and
// SetAlias says so: a note, for those who look at `ip link`, of whose it is.
func Alias(name string) (string, error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return "", fmt.Errorf("interface %s: %w", name, err)
	}
	return link.Attrs().Alias, nil
}

// SetAlias sets what Alias returns.
func SetAlias(name, alias string) error {
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetAlias(link, alias)
	}
	if err != nil {
		return fmt.Errorf("note on interface %s: %w", name, err)
	}
	return nil
}

// Configure sets an interface of the namespace, and the loopback interface, up.
func (n *Namespace) Configure(i Interface) error {
	if err := n.do(i, i.raise); err != nil {
		return err
	}
	return n.do(i, i.address)
}

func (n *Namespace) do(i Interface, f func() error) error {
	if err := n.Do(f); err != nil {
		return fmt.Errorf("set up interface %s: %w", i.Name, err)
	}
	return nil
}

func (i *Interface) raise() error {
	if lo, err := netlink.LinkByName("lo"); err != nil {
		return err
	} else if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	link, err := netlink.LinkByName(i.Name)
	if err != nil {
		return err
	}
	if i.MAC != nil {
		if err := netlink.LinkSetHardwareAddr(link, i.MAC); err != nil {
			return err
		}
	}
	if i.MTU != 0 {
		if err := netlink.LinkSetMTU(link, i.MTU); err != nil {
			return err
		}
	}
	// Its addresses and routes are those it is given here, whatever routers advertise.
	for _, setting := range []string{"accept_dad", "accept_ra"} {
		// A kernel without IPv6 has no such file.
		if err := os.WriteFile(i.ipv6(setting), []byte("0"), 0); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return netlink.LinkSetUp(link)
}

// ipv6 is the file of an IPv6 setting.
func (i *Interface) ipv6(setting string) string {
	return "/proc/sys/net/ipv6/conf/" + i.Name + "/" + setting
}

func (i *Interface) address() error {
	link, err := netlink.LinkByName(i.Name)
	if err != nil {
		return err
	}
	routes, done := make(chan netlink.RouteUpdate, changesMax), make(chan struct{})
	defer close(done)
	if err := netlink.RouteSubscribe(routes, done); err != nil {
		return err
	}
	for _, p := range i.Addresses {
		address := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}, Flags: noDAD}
		if err := netlink.AddrAdd(link, address); err != nil {
			return fmt.Errorf("address %v: %w", p, err)
		}
	}
	for _, p := range i.Addresses {
		if err := await(p.Addr(), routes); err != nil {
			return err
		}
	}
	for _, g := range i.Gateways {
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: g.AsSlice()}); err != nil {
			return fmt.Errorf("default route by %v: %w", g, err)
		}
	}
	return nil
}

// await waits until an address is in use: that of IPv6 is added later by a thread
// of the kernel, and packets to it are dropped until then.
func await(a netip.Addr, routes <-chan netlink.RouteUpdate) error {
	timeout := time.After(readyMax)
	for {
		ways, err := netlink.RouteGet(a.AsSlice())
		if err == nil && len(ways) == 1 && ways[0].Type == routeLocal {
			return nil
		}
		select {
		case <-routes:
		case <-timeout:
			return fmt.Errorf("address %v is not in use after %v", a, readyMax)
		}
	}
}

// Index returns the number of an interface of the namespace.
func (n *Namespace) Index(name string) (index int, err error) {
	err = n.with(name, func(link netlink.Link) error {
		index = link.Attrs().Index
		return nil
	})
	return index, err
}

// Neighbor notes, for ever, which MAC an address behind an interface has.
func (n *Namespace) Neighbor(name string, address netip.Addr, mac net.HardwareAddr) error {
	return n.with(name, func(link netlink.Link) error {
		return netlink.NeighSet(&netlink.Neigh{LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT,
			IP: address.AsSlice(), HardwareAddr: mac})
	})
}

// Unresolved counts the neighbours of the namespace that are being asked for. Packets to
// them wait in the kernel, for some seconds at most.
func (n *Namespace) Unresolved() (count int, err error) {
	err = n.Do(func() error {
		all, err := netlink.NeighList(0, netlink.FAMILY_ALL)
		for _, each := range all {
			if each.State&netlink.NUD_INCOMPLETE != 0 {
				count++
			}
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("list neighbours: %w", err)
	}
	return count, nil
}

// SetDown takes an interface down.
func (n *Namespace) SetDown(name string) error { return n.with(name, netlink.LinkSetDown) }

// SetUp sets an interface up.
func (n *Namespace) SetUp(name string) error { return n.with(name, netlink.LinkSetUp) }

// Remove removes an interface.
func (n *Namespace) Remove(name string) error { return n.with(name, netlink.LinkDel) }

// with calls f with an interface of the namespace, inside it.
func (n *Namespace) with(name string, f func(netlink.Link) error) error {
	return n.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err == nil {
			err = f(link)
		}
		if err != nil {
			return fmt.Errorf("interface %s: %w", name, err)
		}
		return nil
	})
}
