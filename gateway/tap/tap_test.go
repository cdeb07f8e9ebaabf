package tap_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"github.com/quintet-os/quintet/gateway/tap"
	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/network/client/frames"
	"github.com/quintet-os/quintet/network/networktest"
)

// buffers of each port, in each direction.
const buffers = 64

func newGateway(t *testing.T, rig *networktest.Rig, number int, pair bool) *tap.Gateway {
	t.Helper()
	g := openGateway(t, rig, number, pair, buffers)
	closeAtEnd(t, g)
	return g
}

func closeAtEnd(t *testing.T, g *tap.Gateway) {
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
}

// openGateway is newGateway for those who close it, or need more buffers.
func openGateway(t *testing.T, rig *networktest.Rig, number int, pair bool, buffers int) *tap.Gateway {
	t.Helper()
	testenv.RequireRoot(t)
	host := networktest.Host(number)
	m := rig.Join(host, buffers)
	port, err := frames.NewPort(m.Client, m.Region, m.Buffers)
	if err != nil {
		t.Fatal(err)
	}
	var prefixes []netip.Prefix
	for _, a := range host.Addresses {
		prefixes = append(prefixes, netip.PrefixFrom(a, a.BitLen()/2))
	}
	g, err := tap.New(tap.Config{Port: port, MAC: host.MAC, MTU: host.MTU, Addresses: prefixes, Pair: pair})
	if err != nil {
		testenv.Skip(t, err.Error())
	}
	return g
}

func program(t *testing.T, g *tap.Gateway, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		testenv.Skip(t, err.Error()+"; see tools/packages.txt")
	}
	var out, problems bytes.Buffer
	p := exec.Command(args[0], args[1:]...)
	p.Stdout, p.Stderr = &out, &problems
	err := g.Start(p)
	if err == nil {
		err = p.Wait()
	}
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, problems.String())
	}
	return out.Bytes()
}

// received is what ping says of three answers, or more if they were late.
var received = regexp.MustCompile(`, ([3-9]|[0-9]{2,}) received`)

// TestProgramsSpeak: ping and curl in one namespace speak with another, while the
// network server is replaced.
func TestProgramsSpeak(t *testing.T) {
	t.Run("TAP", func(t *testing.T) { programsSpeak(t, false) })
	t.Run("pair", func(t *testing.T) { programsSpeak(t, true) })
}

func programsSpeak(t *testing.T, pair bool) {
	rig := networktest.New(t)
	g, other := newGateway(t, rig, 1, pair), newGateway(t, rig, 2, pair)
	rig.Serve()
	file := make([]byte, 8<<20)
	random := rand.NewChaCha8([32]byte{})
	random.Read(file)
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(file) })}
	defer web.Close()
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-time.After(30 * time.Millisecond):
				rig.Kill()
				rig.Succeed()
				rig.Serve()
			case <-end:
				return
			}
		}
	}()
	defer func() { close(end); <-ended }()
	for _, ip := range networktest.Host(2).Addresses {
		if out := program(t, g, "ping", "-c", "3", "-i", "0.05", "-w", "20", ip.String()); !received.Match(out) {
			t.Errorf("%s", out)
		}
		var listener net.Listener
		if err := other.Do(func() (err error) {
			listener, err = net.Listen("tcp", netip.AddrPortFrom(ip, 80).String())
			return err
		}); err != nil {
			t.Fatal(err)
		}
		go web.Serve(listener)
		if got := program(t, g, "curl", "--silent", "--show-error", fmt.Sprintf("http://%v/", listener.Addr())); !bytes.Equal(got, file) {
			t.Errorf("curl has fetched something else, %d bytes", len(got))
		}
	}
}

// TestSpoofing: a program that gives its interface another address is not heard.
func TestSpoofing(t *testing.T) {
	rig := networktest.New(t)
	other, g := newGateway(t, rig, 1, false), newGateway(t, rig, 2, true)
	rig.Serve()
	var socket net.PacketConn
	if err := other.Do(func() (err error) {
		socket, err = net.ListenPacket("udp", ":9")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	program(t, g, "ip", "address", "add", "10.0.0.77/16", "dev", "eth0")
	to := netip.AddrPortFrom(networktest.Host(1).Addresses[0], 9).String()
	send := func(from string) {
		t.Helper()
		if err := g.Do(func() error {
			local := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}
			c, err := local.Dial("udp", to)
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte(from))
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	own := networktest.Host(2).Addresses[0].String()
	send(own) // so that both know each other's MAC
	send("10.0.0.77")
	send(own)
	b := make([]byte, 100)
	for range 2 {
		socket.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, _, err := socket.ReadFrom(b)
		if err != nil || string(b[:n]) != own {
			t.Fatalf("heard %q: %v", b[:n], err)
		}
	}
}
