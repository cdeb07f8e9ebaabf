package tap_test

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/quintet-os/quintet/internal/netns"
	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/network/link"
	"github.com/quintet-os/quintet/network/link/linktest"
	"github.com/quintet-os/quintet/network/link/tap"
)

func opener(queues int) linktest.Opener {
	return func(t *testing.T, inside *netns.Namespace, name string, mtu int) link.Link {
		t.Helper()
		var l *tap.Link
		err := inside.Do(func() error {
			fds, err := tap.Open(name, queues, false)
			if err != nil {
				return err
			}
			l, err = tap.New(fds, mtu)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
}

func TestConformance(t *testing.T) {
	for _, c := range []struct {
		name        string
		queues, mtu int
	}{{"one queue", 1, 1500}, {"four queues", 4, 1500}, {"jumbo", 1, 9000}} {
		t.Run(c.name, func(t *testing.T) {
			linktest.Run(t, func(t *testing.T) *linktest.System {
				return linktest.NewDirect(t, c.mtu, opener(c.queues))
			})
		})
	}
}

// TestKeptDescriptors: while somebody keeps the descriptors, a link that ends takes
// neither the interface nor the frames in its queue with it.
func TestKeptDescriptors(t *testing.T) {
	outside := linktest.NewNamespace(t)
	var kept []int
	err := outside.Do(func() (err error) {
		kept, err = tap.Open(linktest.OutsideName, 2, false)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, fd := range kept {
			unix.Close(fd)
		}
	}()
	successor := func() link.Link {
		var fds []int
		for _, fd := range kept {
			dup, err := unix.Dup(fd)
			if err != nil {
				t.Fatal(err)
			}
			fds = append(fds, dup)
		}
		l, err := tap.New(fds, 1500)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	first := successor()
	address := netip.MustParsePrefix("10.9.0.1/24")
	if err := outside.Configure(netns.Interface{Name: linktest.OutsideName, Addresses: []netip.Prefix{address}}); err != nil {
		t.Fatal(err)
	}
	if err := outside.Neighbor(linktest.OutsideName, linktest.InsideIPs[0], net.HardwareAddr(linktest.Inside.Src[:])); err != nil {
		t.Fatal(err)
	}
	var socket net.Conn
	err = outside.Do(func() (err error) {
		socket, err = net.Dial("udp", net.JoinHostPort(linktest.InsideIPs[0].String(), "9"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := socket.Write([]byte("kept")); err != nil {
		t.Fatal(err)
	}
	second := successor()
	defer second.Close()
	var frames [link.BatchMax]link.Frame
	n, err := second.Receive(frames[:])
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames[:n] {
		f.Offload.FinishChecksum(f.Head)
		if w, err := linktest.ParseWire(f.Head); err == nil && string(w.Payload) == "kept" {
			return
		}
	}
	t.Errorf("what was sent in between is not among %d frames", n)
}

func TestRefusals(t *testing.T) {
	inside := linktest.NewNamespace(t)
	err := inside.Do(func() error {
		for name, err := range map[string]error{
			"no queue":        second(tap.Open("a", 0, false)),
			"too many queues": second(tap.Open("a", tap.QueuesMax+1, false)),
			"loopback":        second(tap.Open("lo", 1, false)),
		} {
			if !errors.Is(err, link.KindConfig) {
				t.Errorf("%s: %v", name, err)
			}
		}
		fds, err := tap.Open("a", 1, false)
		if err != nil {
			return err
		}
		defer unix.Close(fds[0])
		if _, err := tap.Open("a", 1, false); !errors.Is(err, link.KindBusy) {
			t.Errorf("opened twice: %v", err)
		}
		event, err := unix.CreateEventfd()
		if err != nil {
			return err
		}
		if _, err := tap.New([]int{event}, 1500); err == nil {
			t.Error("an eventfd is no TAP")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func second(_ []int, err error) error { return err }
