package client_test

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/refs"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/client"
	"github.com/quintet-os/quintet/network/client/frames"
	"github.com/quintet-os/quintet/network/networktest"
)

func TestConformance(t *testing.T) {
	networktest.Run(t, networktest.New(t).Pair())
}

// No connection notices that the server has been replaced.
func TestServerDeathsDropNoConnection(t *testing.T) {
	connections, deaths := 100, 50
	if testing.Short() { // the race detector makes the stack twenty times slower
		connections, deaths = 10, 10
	}
	t.Run("paced", func(t *testing.T) { replaceUnder(t, connections, deaths, true) })
	t.Run("unpaced", func(t *testing.T) { replaceUnder(t, connections, deaths, false) })
}

// replaceUnder lets servers die under so many streams.
func replaceUnder(t *testing.T, connections, deaths int, paced bool) {
	r := networktest.New(t)
	p := r.Pair()
	l, err := p.B.Listen("tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for n := range connections {
		ip := p.IPs[n%len(p.IPs)]
		c, err := p.A.DialContext(t.Context(), "tcp", netip.AddrPortFrom(ip, 7).String())
		if err != nil {
			t.Fatal(err)
		}
		far, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer c.Close()
			if sent, err := networktest.Stream(c, uint64(n), paced, stop); err != nil {
				t.Errorf("connection %d after sending %d bytes: %v", n, sent, err)
			}
		})
		wg.Go(func() {
			defer far.Close()
			if got, err := networktest.Verify(far, paced); err != nil {
				t.Errorf("connection %d after receiving %d bytes: %v", n, got, err)
			}
		})
	}
	random := rand.New(rand.NewPCG(1, 4))
	for range deaths {
		// Not a wait for anything: deaths come at random times.
		<-time.After(time.Duration(random.IntN(20_000)) * time.Microsecond)
		r.Replace()
	}
	close(stop)
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// The stack answers echo requests, and survives whatever else comes.
func FuzzReceive(f *testing.F) {
	a, b := networktest.Host(1), networktest.Host(2)
	a.Uplink = true // it may send anything
	syn := make([]byte, 20)
	binary.BigEndian.PutUint16(syn[2:], 80)
	syn[12], syn[13] = 5<<4, 2
	f.Add(networktest.IPv4(b.MAC, a.MAC, a.Addresses[0], b.Addresses[0], 6, syn))
	f.Add(networktest.IPv4(b.MAC, a.MAC, a.Addresses[0], b.Addresses[0], 17, []byte{0, 7, 0, 80, 0, 8, 0, 0}))
	f.Add(networktest.IPv4(b.MAC, a.MAC, a.Addresses[0], b.Addresses[0], 1, []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}))
	f.Add(networktest.IPv6(b.MAC, a.MAC, a.Addresses[1], b.Addresses[1], 58, networktest.Advert(a.Addresses[1], a.MAC)))
	f.Add(networktest.IPv6(b.MAC, a.MAC, a.Addresses[1], b.Addresses[1], 44, []byte{6, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4}))
	f.Add(networktest.IPv6(b.MAC, a.MAC, a.Addresses[1], b.Addresses[1], 0, []byte{58, 0, 5, 2, 0, 0, 1, 0, 130, 0, 0, 0}))
	f.Add(networktest.ARP(network.Broadcast, a.MAC, 1, a.MAC, a.Addresses[0], network.MAC{}, b.Addresses[0]))
	f.Fuzz(func(t *testing.T, frame []byte) {
		r := networktest.New(t)
		m := r.Join(a, 8)
		port, err := frames.NewPort(m.Client, m.Region, m.Buffers)
		if err != nil {
			t.Fatal(err)
		}
		s := r.Stack(2)
		l, err := s.Listen("tcp", ":80")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		r.Serve()
		copy(frame, b.MAC[:])
		client.Finish(frame)
		port.Send(network.Offload{}, frame)
		ping(t, port, a, b)
	})
}

// ping sends an echo request from a raw port until the answer has come.
func ping(t *testing.T, port *frames.Port, from, to network.PortConfig) {
	request := networktest.IPv4(to.MAC, from.MAC, from.Addresses[0], to.Addresses[0], 1, []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0})
	header := request[14:34]
	sum := network.Sum(0, header)
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(header[10:], ^uint16(sum))
	if !port.Send(network.Offload{}, request) {
		t.Fatal("no room for a ping")
	}
	for answered := false; !answered; {
		n, err := port.Poll(8, func(data []byte, _ network.Offload) {
			if len(data) < 15 {
				return
			}
			if binary.BigEndian.Uint16(data[12:]) == 0x0806 && data[21] == 1 { // who has our address?
				port.Send(network.Offload{}, networktest.ARP(to.MAC, from.MAC, 2, from.MAC, from.Addresses[0], to.MAC, to.Addresses[0]))
			}
			answered = answered || binary.BigEndian.Uint16(data[12:]) == 0x0800 && len(data) > 34 && data[23] == 1 && data[34] == 0
		})
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 && !answered {
			if err := port.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A server that writes nonsense into its ring ends the session, not the program.
func TestHostileServer(t *testing.T) {
	r := networktest.New(t)
	m := r.Join(networktest.Host(1), 8)
	port, err := frames.NewPort(m.Client, m.Region, m.Buffers)
	if err != nil {
		t.Fatal(err)
	}
	f := network.Frame{Offset: network.ReceiveBuffer(8, 3), Length: 60} // not the next buffer
	d := f.Encode()
	m.Session.In(network.RingReceive).Push(&d)
	m.Session.In(network.RingReceive).Publish()
	_, err = port.Poll(8, func([]byte, network.Offload) { t.Error("the frame was delivered") })
	if !errors.Is(err, network.KindDescriptor) || m.Client.Err() == nil {
		t.Errorf("polling gave %v, the session %v", err, m.Client.Err())
	}
}

// A server that dies or is interrupted between showing frames and giving back the
// places of their buffers costs the port no buffer.
func TestBuffersArePostedOnceTheirPlacesAreFree(t *testing.T) {
	const buffers = 8
	r := networktest.New(t)
	m := r.Join(networktest.Host(1), buffers)
	port, err := frames.NewPort(m.Client, m.Region, m.Buffers)
	if err != nil {
		t.Fatal(err)
	}
	post, receive := m.Session.Out(network.RingPost), m.Session.In(network.RingReceive)
	for turn := range 3 {
		for i := range buffers {
			var d ipc.Descriptor
			if !post.Pop(&d) {
				t.Fatalf("turn %d: %d buffers were posted, want %d", turn, i, buffers)
			}
			f := network.Frame{Offset: network.ReceiveBuffer(buffers, i), Length: 60}
			d = f.Encode()
			receive.Push(&d)
		}
		receive.Publish()
		if n, err := port.Poll(buffers, func([]byte, network.Offload) {}); n != buffers || err != nil {
			t.Fatalf("turn %d: %d frames came, %v", turn, n, err)
		}
		post.Commit()
		if err := port.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n, err := port.Poll(buffers, func([]byte, network.Offload) {}); n != 0 || err != nil {
			t.Fatalf("turn %d: %d frames came of nothing, %v", turn, n, err)
		}
	}
}

// Packets and connections are given back: nothing of the stack is left after a
// close in the midst of traffic.
func TestCloseLeaksNothing(t *testing.T) {
	refs.SetLeakMode(refs.LeaksPanic)
	t.Cleanup(func() { refs.SetLeakMode(refs.NoLeakChecking) })
	before := runtime.NumGoroutine()
	t.Run("traffic", func(t *testing.T) {
		p := networktest.New(t).Pair()
		l, err := p.B.Listen("tcp", ":7")
		if err != nil {
			t.Fatal(err)
		}
		var near, far []net.Conn
		for range 20 {
			c, err := p.A.DialContext(t.Context(), "tcp", netip.AddrPortFrom(p.IPs[0], 7).String())
			if err != nil {
				t.Fatal(err)
			}
			d, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			near, far = append(near, c), append(far, d)
		}
		for i := range near {
			go func() { _, _ = io.Copy(io.Discard, far[i]) }() // until the stack is closed
			go func() {
				for {
					if _, err := near[i].Write(make([]byte, 10_000)); err != nil {
						return
					}
				}
			}()
		}
		if _, err := near[0].Write(make([]byte, 1<<20)); err != nil {
			t.Error(err)
		}
	})
	for runtime.NumGoroutine() > before {
		runtime.Gosched()
	}
	refs.DoRepeatedLeakCheck()
}
