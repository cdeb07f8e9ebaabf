package client_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/refs"

	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/client"
	"github.com/quintet-os/quintet/network/link/linktest"
	"github.com/quintet-os/quintet/network/networktest"
)

// exchange uses so many connections at once.
func exchange(t *testing.T, p networktest.Peers, connections, bytesEach int) {
	t.Helper()
	var wg sync.WaitGroup
	for n := range connections {
		a, b, err := p.Connect(n)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer a.Close()
			defer b.Close()
			if err := networktest.Exchange(a, b, uint64(2*n), bytesEach); err != nil {
				t.Errorf("connection %d: %v", n, err)
			}
		})
	}
	wg.Wait()
}

// Acknowledgements, segments and whole super-segments are lost, repeated and
// overtaken, and all bytes arrive.
func TestBadCables(t *testing.T) {
	bytesEach := 300_000
	if testing.Short() {
		bytesEach = 20_000
	}
	loss := linktest.Impairment{Loss: 0.01, Delay: 100 * time.Microsecond}
	order := linktest.Impairment{Reorder: 0.05, HoldUp: time.Millisecond, Duplicate: 0.05, Jitter: 200 * time.Microsecond}
	more, good := linktest.Impairment{Loss: 0.05}, linktest.Impairment{}
	all := linktest.Impairment{Loss: 0.02, Reorder: 0.05, HoldUp: time.Millisecond, Duplicate: 0.05, Delay: time.Millisecond, Jitter: time.Millisecond}
	for name, c := range map[string]networktest.Cable{
		"losing acknowledgements":     {There: good, Back: loss},
		"losing segments":             {There: loss, Back: loss, Cut: true},
		"losing super-segments":       {There: more, Back: more},
		"out of order":                {There: order, Back: order, Cut: true},
		"super-segments out of order": {There: order, Back: order},
		"far apart":                   {There: linktest.Impairment{Delay: 5 * time.Millisecond}, Back: linktest.Impairment{Delay: 5 * time.Millisecond}},
		"everything, far apart":       {There: all, Back: all},
	} {
		t.Run(name, func(t *testing.T) {
			c.Seed = rand.Uint64()
			t.Logf("seed %d", c.Seed)
			p := networktest.New(t).Apart(c)
			exchange(t, p, 4, bytesEach)
			again, timeouts := p.A.(*client.Stack).Retransmissions()
			t.Logf("%d segments were sent again, %d times after a timeout", again, timeouts)
			for _, s := range []networktest.Network{p.A, p.B} {
				if n := s.(*client.Stack).Damaged(); n != 0 {
					t.Errorf("%d frames with wrong checksums", n)
				}
			}
		})
	}
}

// Networks of any MTU carry connections.
func TestJumboFrames(t *testing.T) {
	for _, mtu := range []int{network.MTUMin, 9000, network.MTUMax} {
		t.Run(fmt.Sprint(mtu), func(t *testing.T) {
			r := networktest.New(t)
			a, b := networktest.Host(1), networktest.Host(2)
			a.MTU, b.MTU = mtu, mtu
			p := networktest.Peers{A: r.StackOn(a), B: r.StackOn(b), IPs: b.Addresses}
			r.Serve()
			exchange(t, p, 4, 200_000)
			datagram(t, p)
		})
	}
}

// A server that is away for several timeouts of TCP costs each connection no further
// one when another is there: frames that were in rings come first.
func TestAnOutageEndsWithTheServer(t *testing.T) {
	const connections = 10
	r := networktest.New(t)
	p := r.Pair()
	a := p.A.(*client.Stack)
	var near, far []net.Conn
	for n := range connections {
		c, d, err := p.Connect(n)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		defer d.Close()
		near, far = append(near, c), append(far, d)
	}
	r.Kill()
	for _, c := range near {
		if _, err := c.Write([]byte("while nobody serves")); err != nil {
			t.Fatal(err)
		}
	}
	for timeouts := uint64(0); timeouts < 3*connections; _, timeouts = a.Retransmissions() {
		runtime.Gosched()
	}
	r.Succeed()
	_, before := a.Retransmissions()
	r.Serve()
	var wg sync.WaitGroup
	for i := range near {
		wg.Go(func() {
			if _, err := far[i].Read(make([]byte, 100)); err != nil {
				t.Error(err)
			}
			if err := networktest.Exchange(near[i], far[i], uint64(i), 1000); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, after := a.Retransmissions(); after-before > connections {
		t.Errorf("%d timeouts after the outage, of %d connections", after-before, connections)
	}
}

// Connections come and go for long, and nothing of them stays: no goroutine, no packet
// and no memory.
func TestSoak(t *testing.T) {
	const heapMax, deaths = 64 << 20, 1
	connections, rounds := 20, 8
	if testing.Short() {
		connections, rounds = 4, 4
	}
	if os.Getenv("QUINTET_LONG") != "" {
		rounds = 5000 // of 20 connections each
	}
	soak(t, rounds, deaths, connections, heapMax)
}

func soak(t *testing.T, rounds, deaths, connections int, heapMax uint64) {
	refs.SetLeakMode(refs.LeaksPanic)
	t.Cleanup(func() { refs.SetLeakMode(refs.NoLeakChecking) })
	outside := runtime.NumGoroutine()
	t.Run("rounds", func(t *testing.T) {
		r := networktest.New(t)
		p := r.Pair()
		a := p.A.(*client.Stack)
		for n := range rounds {
			exchange(t, p, connections, 20_000)
			for _, ip := range p.IPs {
				if _, err := a.Ping(t.Context(), ip, fmt.Append(nil, n), time.Second); err != nil {
					t.Fatal(err)
				}
			}
			datagram(t, p)
			if n%4 == 3 {
				for range deaths {
					r.Replace()
				}
			}
		}
		// A connection that was closed first is remembered for a minute (TIME-WAIT, RFC
		// 9293, 3.6.1), and what it had sent with it.
		var m runtime.MemStats
		for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
			runtime.GC()
			if runtime.ReadMemStats(&m); m.HeapAlloc < heapMax {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the heap has %d bytes after the last connection, and should have less than %d", m.HeapAlloc, heapMax)
			}
		}
	})
	for runtime.NumGoroutine() > outside {
		runtime.Gosched()
	}
	refs.DoRepeatedLeakCheck()
}

// datagram sends one each way.
func datagram(t *testing.T, p networktest.Peers) {
	t.Helper()
	server, err := p.B.ListenPacket("udp", net.JoinHostPort(p.IPs[0].String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	c, err := p.A.DialContext(t.Context(), "udp", server.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("there")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	_, from, err := server.ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.WriteTo([]byte("back"), from); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(b); err != nil || string(b[:n]) != "back" {
		t.Fatalf("%q came back, %v", b[:n], err)
	}
}
