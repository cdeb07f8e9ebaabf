package pump_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/client/frames"
	"github.com/quintet-os/quintet/network/link"
	"github.com/quintet-os/quintet/network/link/pump"
	"github.com/quintet-os/quintet/network/networktest"
)

// memoryLink is a link whose other end is the test.
type memoryLink struct {
	bell int
	out  chan []byte

	mu sync.Mutex // guards in; a leaf
	in [][]byte
}

func newMemoryLink(t *testing.T) *memoryLink {
	t.Helper()
	bell, err := unix.CreateEventfd()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(bell) })
	return &memoryLink{bell: bell, out: make(chan []byte, 1024)}
}

// come lets frames come in.
func (l *memoryLink) come(frames ...[]byte) {
	l.mu.Lock()
	l.in = append(l.in, frames...)
	l.mu.Unlock()
	_ = unix.Ring(l.bell)
}

func (l *memoryLink) Receive(frames []link.Frame) (n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ; n < len(frames) && len(l.in) > 0; n++ {
		frames[n], l.in = link.Frame{Head: l.in[0]}, l.in[1:]
	}
	return n, nil
}

func (l *memoryLink) Transmit(frames []link.Frame) (int, error) {
	for _, f := range frames {
		l.out <- append(bytes.Clone(f.Head), f.Rest...)
	}
	return len(frames), nil
}

func (l *memoryLink) Info() link.Info         { return link.Info{Name: "memory", MTU: mtu} }
func (l *memoryLink) Counters() link.Counters { return link.Counters{} }
func (l *memoryLink) Wakeup() int             { return l.bell }
func (l *memoryLink) Close() error            { return nil }

// What the filter takes does not reach the port, everything else does, and frames of the
// domain's own leave whole, between those of the port.
func TestFilterAndSend(t *testing.T) {
	rig, l := networktest.New(t), newMemoryLink(t)
	newPort := func(cfg network.PortConfig) *frames.Port {
		m := rig.Join(cfg, buffers)
		p, err := frames.NewPort(m.Client, m.Region, m.Buffers)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	uplink, host := network.MAC{2, 0xff, 0, 0, 0, 1}, networktest.Host(2)
	p, far := pump.New(l, newPort(network.PortConfig{MTU: mtu, MAC: uplink, Uplink: true})), newPort(host)
	from := netip.MustParseAddr("192.0.2.1")
	frame := func(payload string) []byte {
		return networktest.IPv4(host.MAC, uplink, from, host.Addresses[0], 253, []byte(payload))
	}
	p.Filter = func(frame []byte) bool { return bytes.HasSuffix(frame, []byte("for the domain")) }
	rig.Serve()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()

	l.come(frame("for the domain"), frame("for the port"), frame("for the domain"), frame("the last"))
	for _, want := range []string{"for the port", "the last"} {
		for came := false; !came; {
			n, err := far.Poll(1, func(data []byte, _ network.Offload) {
				if !bytes.HasSuffix(data, []byte(want)) {
					t.Errorf("the port gets %q", data)
				}
			})
			if came = n == 1; err == nil && !came {
				err = far.Wait(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}

	const frames = 100
	long := bytes.Repeat([]byte("of the domain "), 100) // more than a Head holds
	var sending sync.WaitGroup
	sending.Go(func() {
		for range frames {
			if err := p.Send(frame(string(long))); err != nil {
				t.Error(err)
			}
		}
	})
	sending.Go(func() {
		f := networktest.IPv4(uplink, host.MAC, host.Addresses[0], from, 253, []byte("of the port"))
		for range frames {
			for !far.Send(network.Offload{}, f) {
				if err := far.Wait(t.Context()); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	count := map[string]int{}
	for range 2 * frames {
		switch f := <-l.out; {
		case bytes.HasSuffix(f, []byte("of the port")):
			count["port"]++
		case bytes.Equal(f, frame(string(long))):
			count["domain"]++
		default:
			t.Errorf("%q leaves", f)
		}
	}
	sending.Wait()
	if count["port"] != frames || count["domain"] != frames {
		t.Errorf("frames that left: %v", count)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := p.Send(frame("late")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}
