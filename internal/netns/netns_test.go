package netns_test

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/internal/netns"
	"github.com/quintet-os/quintet/internal/testenv"
)

func newNamespace(t *testing.T) *netns.Namespace {
	t.Helper()
	testenv.RequireRoot(t)
	n, err := netns.New()
	if err != nil {
		testenv.Skip(t, err.Error())
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func TestNamespaceIsLeftBehind(t *testing.T) {
	before, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	n := newNamespace(t)
	for range 20 {
		err := n.Do(func() error {
			if inside, err := os.Readlink("/proc/thread-self/ns/net"); err != nil || inside == before {
				t.Errorf("inside is %s, outside %s: %v", inside, before, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if after, err := os.Readlink("/proc/thread-self/ns/net"); err != nil || after != before {
			t.Fatalf("%s has become %s: %v", before, after, err)
		}
	}
}

func TestCableCarriesBothFamilies(t *testing.T) {
	a, b := newNamespace(t), newNamespace(t)
	prefixes := func(host string) []netip.Prefix {
		return []netip.Prefix{netip.MustParsePrefix("10.8.0." + host + "/24"), netip.MustParsePrefix("fd08::" + host + "/64")}
	}
	err := a.Veth(netns.Interface{Name: "x", Addresses: prefixes("1"), MTU: 9000},
		b, netns.Interface{Name: "y", Addresses: prefixes("2"), MTU: 9000, Gateways: []netip.Addr{netip.MustParseAddr("10.8.0.1")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"10.8.0.1", "fd08::1"} {
		var listener net.Listener
		if err := a.Do(func() (err error) {
			listener, err = net.Listen("tcp", net.JoinHostPort(address, "0"))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		if err := b.Do(func() error {
			c, err := net.Dial("tcp", listener.Addr().String())
			if err == nil {
				c.Close()
			}
			return err
		}); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	var out strings.Builder
	program := exec.Command("cat", "/proc/net/dev")
	program.Stdout = &out
	if err := b.Start(program); err != nil {
		t.Fatal(err)
	}
	if err := program.Wait(); err != nil || !strings.Contains(out.String(), "y:") {
		t.Errorf("a program inside sees %q: %v", out.String(), err)
	}
}
