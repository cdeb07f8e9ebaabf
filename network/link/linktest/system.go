package linktest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/netns"
	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/link"
	"github.com/quintet-os/quintet/network/link/packet"
)

// patience is how long a test waits for a frame before it fails.
const patience = 20 * time.Second

// Names and addresses of the two ends. The kernel's stack is outside, and believes
// that the addresses of the inside are behind the link.
const (
	InsideName  = "inside"
	OutsideName = "outside"
)

// Addresses of the ends, IPv4 and IPv6.
var (
	Inside     = Ends{Src: network.MAC{2, 0, 0, 0, 0, 0x11}, Dst: network.MAC{2, 0, 0, 0, 0, 0x22}}
	InsideIPs  = []netip.Addr{netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("fd09::2")}
	OutsideIPs = []netip.Addr{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("fd09::1")}
)

// System is a link with the kernel at its other end.
type System struct {
	Link    link.Link
	Outside *netns.Namespace // has the interface OutsideName
	// Down takes the link's own interface down, Up sets it up again, Remove removes
	// it.
	Down, Up, Remove func() error

	peer *packet.Link // on OutsideName
}

// Opener opens the link under test on the interface of that name in inside.
type Opener func(t *testing.T, inside *netns.Namespace, name string, mtu int) link.Link

// NewVeth makes a pair of interfaces, each in a namespace of its own, and opens the
// link on one of them. Without sums, the outside finishes the checksums of what it
// sends.
func NewVeth(t *testing.T, mtu int, sums bool, open Opener) *System {
	t.Helper()
	inside, outside := NewNamespace(t), NewNamespace(t)
	near := netns.Interface{Name: InsideName, MTU: mtu, MAC: net.HardwareAddr(Inside.Src[:])}
	if err := inside.Veth(near, outside, outsideInterface(mtu)); err != nil {
		t.Fatal(err)
	}
	if !sums {
		if err := outside.Do(func() error { return unix.SetTransmitChecksums(OutsideName, false) }); err != nil {
			t.Fatal(err)
		}
	}
	s := &System{
		Outside: outside,
		Down:    func() error { return inside.SetDown(InsideName) },
		Up:      func() error { return inside.SetUp(InsideName) },
		Remove:  func() error { return inside.Remove(InsideName) },
	}
	return s.start(t, open(t, inside, InsideName, mtu))
}

// NewDirect opens a link whose other end is the interface OutsideName itself, which
// open makes in the namespace.
func NewDirect(t *testing.T, mtu int, open Opener) *System {
	t.Helper()
	outside := NewNamespace(t)
	l := open(t, outside, OutsideName, mtu)
	if err := outside.Configure(outsideInterface(mtu)); err != nil {
		t.Fatal(err)
	}
	s := &System{
		Outside: outside,
		Down:    func() error { return outside.SetDown(OutsideName) },
		Up:      func() error { return outside.SetUp(OutsideName) },
		Remove:  func() error { return outside.Remove(OutsideName) },
	}
	return s.start(t, l)
}

func outsideInterface(mtu int) netns.Interface {
	i := netns.Interface{Name: OutsideName, MTU: mtu, MAC: net.HardwareAddr(Inside.Dst[:])}
	for _, a := range OutsideIPs {
		i.Addresses = append(i.Addresses, netip.PrefixFrom(a, a.BitLen()-8))
	}
	return i
}

// NewNamespace makes a namespace that ends with the test, or skips the test.
func NewNamespace(t testing.TB) *netns.Namespace {
	t.Helper()
	testenv.RequireRoot(t)
	n, err := netns.New()
	if err != nil {
		testenv.Skip(t, err.Error())
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func (s *System) start(t *testing.T, l link.Link) *System {
	t.Helper()
	s.Link = l
	t.Cleanup(func() {
		if err := s.Link.Close(); err != nil {
			t.Errorf("close the link: %v", err)
		}
	})
	for _, a := range InsideIPs {
		if err := s.Outside.Neighbor(OutsideName, a, net.HardwareAddr(Inside.Src[:])); err != nil {
			t.Fatal(err)
		}
	}
	index, err := s.Outside.Index(OutsideName)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Outside.Do(func() error {
		fd, err := packet.Open(index)
		s.peer = packet.New(fd, OutsideName, network.MTUMax)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.peer.Close() })
	return s
}

var errPatience = errors.New("nothing has come")

// receive waits for the next frame that want accepts, and returns a copy.
func receive(l link.Link, want func(f *link.Frame) bool) (link.Frame, error) {
	epoll, err := unix.NewEpoll(1)
	if err != nil {
		return link.Frame{}, err
	}
	defer epoll.Close()
	polled := l.Wakeup() < 0
	if !polled {
		if err := epoll.Add(l.Wakeup(), 0); err != nil {
			return link.Frame{}, err
		}
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		var frames [1]link.Frame
		n, err := l.Receive(frames[:])
		if err != nil {
			return link.Frame{}, err
		}
		if n == 0 && polled {
			runtime.Gosched()
			continue
		}
		if n == 0 {
			if err := epoll.Wait(time.Until(deadline), func(int32) {}); err != nil {
				return link.Frame{}, err
			}
			continue
		}
		f := frames[0]
		f.Head = append([]byte{}, f.Head...)
		if want(&f) {
			return f, nil
		}
	}
	return link.Frame{}, fmt.Errorf("%w in %v", errPatience, patience)
}

// transmit sends all frames, and offers again what found no room.
func transmit(l link.Link, frames ...link.Frame) error {
	for deadline := time.Now().Add(patience); len(frames) > 0; {
		n, err := l.Transmit(frames)
		if err != nil {
			return err
		}
		if frames = frames[n:]; time.Now().After(deadline) {
			return fmt.Errorf("no room for %d frames in %v", len(frames), patience)
		}
	}
	return nil
}
