package pump_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/netns"
	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/client/frames"
	"github.com/quintet-os/quintet/network/link"
	"github.com/quintet-os/quintet/network/link/linktest"
	"github.com/quintet-os/quintet/network/link/packet"
	"github.com/quintet-os/quintet/network/link/pump"
	"github.com/quintet-os/quintet/network/link/tap"
	"github.com/quintet-os/quintet/network/link/xdp"
	"github.com/quintet-os/quintet/network/networktest"
)

const (
	buffers = 64
	mtu     = 1500
	name    = "eth0" // of the kernel's interface behind a link
)

// kinds are ways to give a namespace an interface behind a link.
var kinds = map[string]func(t *testing.T, n *netns.Namespace, i netns.Interface) link.Link{
	"tap": newTAP,
	"packet": func(t *testing.T, n *netns.Namespace, i netns.Interface) link.Link {
		return newVeth(t, n, i, openPacket)
	},
	"xdp native": func(t *testing.T, n *netns.Namespace, i netns.Interface) link.Link {
		return newVeth(t, n, i, openNative)
	},
	"xdp generic": func(t *testing.T, n *netns.Namespace, i netns.Interface) link.Link {
		return newVeth(t, n, i, openGeneric)
	},
}

func newTAP(t *testing.T, n *netns.Namespace, i netns.Interface) (l link.Link) {
	t.Helper()
	err := n.Do(func() error {
		fds, err := tap.Open(i.Name, 1, false)
		if err == nil {
			l, err = tap.New(fds, mtu)
		}
		return err
	})
	if err == nil {
		err = n.Configure(i)
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func newVeth(t *testing.T, n *netns.Namespace, i netns.Interface, open func(index int) (link.Link, error)) (l link.Link) {
	t.Helper()
	inside := linktest.NewNamespace(t)
	if err := inside.Veth(netns.Interface{Name: linktest.InsideName}, n, i); err != nil {
		t.Fatal(err)
	}
	index, err := inside.Index(linktest.InsideName)
	if err == nil {
		err = inside.Do(func() (err error) {
			l, err = open(index)
			return err
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	if !l.Info().Checksum {
		if err := n.Do(func() error { return unix.SetTransmitChecksums(i.Name, false) }); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func openPacket(index int) (link.Link, error) {
	fd, err := packet.Open(index)
	if err != nil {
		return nil, err
	}
	return packet.New(fd, linktest.InsideName, mtu), nil
}

func openNative(index int) (link.Link, error)  { return openXDP(index, xdp.Native) }
func openGeneric(index int) (link.Link, error) { return openXDP(index, xdp.Generic) }

func openXDP(index int, mode xdp.Mode) (link.Link, error) {
	d, err := xdp.Open(index, 1, mtu, mode)
	if err != nil {
		return nil, err
	}
	return xdp.New(d, linktest.InsideName, mtu)
}

// join gives a namespace the n-th address behind a link that a new uplink port of
// the switch is pumped to. The server must not be running.
func join(t *testing.T, rig *networktest.Rig, number int, kind string) *netns.Namespace {
	t.Helper()
	n := linktest.NewNamespace(t)
	host := networktest.Host(number)
	i := netns.Interface{Name: name, MAC: host.MAC[:], MTU: mtu}
	for _, a := range host.Addresses {
		i.Addresses = append(i.Addresses, netip.PrefixFrom(a, a.BitLen()/2))
	}
	l := kinds[kind](t, n, i)
	m := rig.Join(network.PortConfig{MTU: mtu, MAC: network.MAC{2, 0xff, 0, 0, 0, byte(number)}, Uplink: true}, buffers)
	port, err := frames.NewPort(m.Client, m.Region, m.Buffers)
	if err != nil {
		t.Fatal(err)
	}
	p := pump.New(l, port)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, l.Close()); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("%s: %+v, %d found no room", kind, p.Counters(), p.Full())
		}
	})
	return n
}

// program runs a program in a namespace and returns what it prints.
func program(t *testing.T, n *netns.Namespace, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out strings.Builder
	p := exec.CommandContext(ctx, args[0], args[1:]...)
	p.Stdout, p.Stderr = &out, &out
	err := n.Start(p)
	if err == nil {
		err = p.Wait()
	}
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out.String())
	}
	return out.String()
}

func require(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			testenv.Skip(t, err.Error()+"; see tools/packages.txt")
		}
	}
}

// TestPrograms runs ordinary programs between a namespace behind a TAP and one
// behind each kind of link, while the network server dies again and again.
func TestPrograms(t *testing.T) {
	require(t, "ping", "curl", "iperf3")
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			rig := networktest.New(t)
			a, b := join(t, rig, 1, "tap"), join(t, rig, 2, kind)
			rig.Serve()
			for _, ip := range networktest.Host(2).Addresses {
				ping(t, a, ip)
				curl(t, rig, a, b, ip)
				iperf(t, rig, a, b, ip)
			}
		})
	}
}

// received is what ping says of five answers, or more if they were late.
var received = regexp.MustCompile(`, ([5-9]|[0-9]{2,}) received`)

func ping(t *testing.T, from *netns.Namespace, to netip.Addr) {
	t.Helper()
	out := program(t, from, "ping", "-c", "5", "-i", "0.02", "-s", "1400", "-w", "20", to.String())
	if !received.MatchString(out) {
		t.Error(out)
	}
}

// curl fetches a file from a web server of the kernel's while servers are replaced.
func curl(t *testing.T, rig *networktest.Rig, from, to *netns.Namespace, ip netip.Addr) {
	t.Helper()
	file := make([]byte, 8<<20)
	for i := range file {
		file[i] = byte(rand.Uint32())
	}
	var listener net.Listener
	err := to.Do(func() (err error) {
		listener, err = net.Listen("tcp", netip.AddrPortFrom(ip, 0).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(file) })}
	go web.Serve(listener)
	defer web.Close()
	stop := storm(rig)
	defer stop()
	out := program(t, from, "curl", "--silent", "--show-error", fmt.Sprintf("http://%v/", listener.Addr()))
	if !bytes.Equal([]byte(out), file) {
		t.Errorf("%v: curl has fetched something else, %d bytes", ip, len(out))
	}
}

// storm replaces the server until stop is called.
func storm(rig *networktest.Rig) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				rig.Kill()
				rig.Succeed()
				rig.Serve()
			case <-end:
				return
			}
		}
	}()
	return func() { close(end); <-ended }
}

func iperf(t *testing.T, rig *networktest.Rig, from, to *netns.Namespace, ip netip.Addr) {
	t.Helper()
	server := exec.Command("iperf3", "--server", "--one-off", "--bind", ip.String(), "--forceflush")
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Start(server); err != nil {
		t.Fatal(err)
	}
	defer server.Wait()
	defer server.Process.Kill()
	for b, text := make([]byte, 1000), ""; !strings.Contains(text, "listening"); {
		n, err := out.Read(b)
		if err != nil {
			t.Fatalf("iperf3 --server: %v after %q", err, text)
		}
		text += string(b[:n])
	}
	go func() { // the pipe must not fill
		for b := make([]byte, 1000); ; {
			if _, err := out.Read(b); err != nil {
				return
			}
		}
	}()
	report := program(t, from, "iperf3", "--client", ip.String(), "--bytes", "64M", "--connect-timeout", "5000")
	for _, line := range strings.Split(report, "\n") {
		if strings.Contains(line, "receiver") {
			t.Log(strings.TrimSpace(line))
			return
		}
	}
	t.Errorf("iperf3 reports no receiver:\n%s", report)
}
