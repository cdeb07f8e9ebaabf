package networktest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/nettest"
)

// Test is one thing that must hold between two stacks.
type Test struct {
	Name string
	Run  func(t *testing.T, p Peers)
}

// Tests are the conformance tests. Each leaves the stacks as it found them.
var Tests = []Test{
	{"Conn", testConn},
	{"HTTP", testHTTP},
	{"Datagrams", testDatagrams},
	{"LargeDatagrams", testLargeDatagrams},
	{"ManyConnections", testManyConnections},
	{"TinyRTT", testTinyRTT},
	{"HalfClose", testHalfClose},
	{"Addresses", testAddresses},
	{"Errors", testErrors},
	{"Self", testSelf},
	{"Timeouts", testTimeouts},
	{"Refused", testRefused},
	{"Reset", testReset},
	{"UnreadIsReset", testUnreadIsReset},
}

// Run runs all of them.
func Run(t *testing.T, p Peers) {
	for _, test := range Tests {
		t.Run(test.Name, func(t *testing.T) { test.Run(t, p) })
	}
}

func each(t *testing.T, p Peers, f func(t *testing.T, family string, ip netip.Addr)) {
	for _, ip := range p.IPs {
		family := "6"
		if ip.Is4() {
			family = "4"
		}
		t.Run("IPv"+family, func(t *testing.T) { f(t, family, ip) })
	}
}

// connect returns both ends of a connection from A to B.
func connect(p Peers, family string, ip netip.Addr) (a, b net.Conn, err error) {
	l, err := p.B.Listen("tcp"+family, net.JoinHostPort(ip.String(), "0"))
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if a, err = p.A.DialContext(context.Background(), "tcp"+family, l.Addr().String()); err != nil {
		return nil, nil, err
	}
	if b, err = l.Accept(); err != nil {
		return nil, nil, errors.Join(err, a.Close())
	}
	return a, b, nil
}

func testConn(t *testing.T, p Peers) {
	each(t, p, func(t *testing.T, family string, ip netip.Addr) {
		nettest.TestConn(t, func() (a, b net.Conn, stop func(), err error) {
			a, b, err = connect(p, family, ip)
			if err != nil {
				return nil, nil, nil, err
			}
			return a, b, func() { a.Close(); b.Close() }, nil
		})
	})
}

func testHTTP(t *testing.T, p Peers) {
	l, err := p.B.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		if _, err := io.Copy(sum, r.Body); err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, "%x", sum.Sum(nil))
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	transport := &http.Transport{DialContext: p.A.DialContext}
	each(t, p, func(t *testing.T, _ string, ip netip.Addr) {
		url := fmt.Sprintf("http://%s/", netip.AddrPortFrom(ip, uint16(l.Addr().(*net.TCPAddr).Port)))
		for _, size := range []int{0, 1, 1460, 100_000, 3 << 20} {
			body := random(uint64(size), size)
			resp, err := (&http.Client{Transport: transport}).Post(url, "application/octet-stream", bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if want := fmt.Sprintf("%x", sha256.Sum256(body)); err != nil || string(got) != want {
				t.Errorf("%d bytes hashed to %s, %v, want %s", size, got, err, want)
			}
		}
	})
	transport.CloseIdleConnections()
	server.Close()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("the server ended with %v", err)
	}
}

func random(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 3))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// echoPackets sends back what comes until c is closed.
func echoPackets(c net.PacketConn) {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		if _, err := c.WriteTo(buf[:n], from); err != nil {
			return
		}
	}
}

func datagrams(t *testing.T, p Peers, sizes ...int) {
	each(t, p, func(t *testing.T, family string, ip netip.Addr) {
		server, err := p.B.ListenPacket("udp"+family, net.JoinHostPort(ip.String(), "0"))
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		go echoPackets(server)
		c, err := p.A.DialContext(t.Context(), "udp"+family, server.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		buf := make([]byte, 1<<16)
		for _, size := range sizes {
			want := random(uint64(size), size)
			if _, err := c.Write(want); err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			n, err := c.Read(buf)
			if err != nil || !bytes.Equal(buf[:n], want) {
				t.Errorf("%d bytes came back as %d, %v", size, n, err)
			}
		}
	})
}

func testDatagrams(t *testing.T, p Peers) { datagrams(t, p, 1, 2, 511, 1452) }

// testLargeDatagrams are cut to fragments and put together again.
func testLargeDatagrams(t *testing.T, p Peers) { datagrams(t, p, 1473, 9000, 40_000) }

func testManyConnections(t *testing.T, p Peers) {
	const connections, bytesEach = 100, 200_000
	each(t, p, func(t *testing.T, family string, ip netip.Addr) {
		l, err := p.B.Listen("tcp"+family, net.JoinHostPort(ip.String(), "0"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					_, _ = io.Copy(c, c) // the other end sees a lack
				}()
			}
		}()
		var wg sync.WaitGroup
		for n := range connections {
			wg.Go(func() {
				c, err := p.A.DialContext(t.Context(), "tcp"+family, l.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				want := random(uint64(n), bytesEach)
				wg.Go(func() {
					if _, err := c.Write(want); err != nil {
						t.Errorf("connection %d: %v", n, err)
					}
				})
				got := make([]byte, bytesEach)
				if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
					t.Errorf("connection %d does not echo: %v", n, err)
				}
			})
		}
		wg.Wait()
	})
}

func testHalfClose(t *testing.T, p Peers) {
	each(t, p, func(t *testing.T, family string, ip netip.Addr) {
		a, b, err := connect(p, family, ip)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		defer b.Close()
		go func() {
			got, err := io.ReadAll(b)
			if err == nil {
				_, err = b.Write(append(got, "pong"...))
			}
			if err = errors.Join(err, b.Close()); err != nil {
				t.Error(err)
			}
		}()
		if _, err := io.WriteString(a, "ping"); err != nil {
			t.Fatal(err)
		}
		if err := a.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(a); err != nil || string(got) != "pingpong" {
			t.Errorf("after half a close: %q, %v", got, err)
		}
	})
}

// testAddresses: all addresses can be read by programs.
func testAddresses(t *testing.T, p Peers) {
	l, err := p.B.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := p.B.ListenPacket("udp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, a := range []net.Addr{l.Addr(), c.LocalAddr()} {
		if ap, err := netip.ParseAddrPort(a.String()); err != nil || !ap.Addr().IsUnspecified() || ap.Port() == 0 {
			t.Errorf("listening at %v: %v", a, err)
		}
	}
	each(t, p, func(t *testing.T, family string, ip netip.Addr) {
		a, b, err := connect(p, family, ip)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		defer b.Close()
		if a.RemoteAddr().String() != b.LocalAddr().String() || b.RemoteAddr().String() != a.LocalAddr().String() {
			t.Errorf("%v-%v is %v-%v at the other end", a.LocalAddr(), a.RemoteAddr(), b.RemoteAddr(), b.LocalAddr())
		}
	})
}

func testErrors(t *testing.T, p Peers) {
	each(t, p, func(t *testing.T, family string, ip netip.Addr) {
		l, err := p.B.Listen("tcp"+family, net.JoinHostPort(ip.String(), "0"))
		if err != nil {
			t.Fatal(err)
		}
		at := l.Addr().String()
		if _, err := p.B.Listen("tcp"+family, at); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("listening twice: %v", err)
		}
		accepted := make(chan error)
		go func() {
			_, err := l.Accept()
			accepted <- err
		}()
		l.Close()
		if err := <-accepted; !errors.Is(err, net.ErrClosed) {
			t.Errorf("accepting from a closed listener: %v", err)
		}
		if _, err := p.A.DialContext(t.Context(), "tcp"+family, at); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dialling nobody: %v", err)
		}

		a, b, err := connect(p, family, ip)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if err := a.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
			t.Error(err)
		}
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("reading past the deadline: %v", err)
		}
		a.Close()
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("reading from a closed connection: %v", err)
		}
		if _, err := a.Write([]byte{1}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("writing to a closed connection: %v", err)
		}
	})
	for _, bad := range []string{"tcp5", "ip", "tcp46"} {
		var unknown net.UnknownNetworkError
		if _, err := p.A.DialContext(t.Context(), bad, "10.0.0.1:1"); !errors.As(err, &unknown) {
			t.Errorf("dialling %s: %v", bad, err)
		}
	}
	var dns *net.DNSError
	if _, err := p.A.DialContext(t.Context(), "tcp", "no.such.host:80"); !errors.As(err, &dns) || !dns.IsNotFound {
		t.Errorf("dialling an unknown name: %v", err)
	}
}
