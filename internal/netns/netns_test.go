package netns_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

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

// TestWatchMissesNothing: each change of an interface is told, and what Lookup says
// afterwards is how it is.
func TestWatchMissesNothing(t *testing.T) {
	n, peer := newNamespace(t), newNamespace(t)
	ctx, cancel := context.WithCancel(t.Context())
	changes, ended := make(chan netns.Change), make(chan error, 1)
	if err := n.Do(func() error { // the thread is this goroutine's alone
		go func() {
			ended <- n.Do(func() error {
				return netns.Watch(ctx, func(c netns.Change) {
					select {
					case changes <- c:
					case <-ctx.Done():
					}
				})
			})
		}()
		if c := <-changes; c != (netns.Change{}) {
			t.Errorf("it begins with %+v", c)
		}
		until := func(what string, holds func(c netns.Change, now netns.Link, err error) bool) {
			for deadline := time.After(10 * time.Second); ; {
				select {
				case c := <-changes:
					if now, err := netns.Lookup("x"); holds(c, now, err) {
						return
					}
				case <-deadline:
					t.Errorf("nobody tells that it is %s", what)
					return
				}
			}
		}
		if err := n.Veth(netns.Interface{Name: "x", MTU: 1400}, peer, netns.Interface{Name: "y"}); err != nil {
			return err
		}
		index := 0
		until("up", func(c netns.Change, now netns.Link, err error) bool {
			index = now.Index
			return err == nil && c.Name == "x" && now.Up && now.Carrier && now.MTU == 1400
		})
		if err := peer.SetDown("y"); err != nil {
			return err
		}
		until("without carrier", func(c netns.Change, now netns.Link, err error) bool { return now.Up && !now.Carrier })
		if err := n.SetDown("x"); err != nil {
			return err
		}
		until("down", func(c netns.Change, now netns.Link, err error) bool { return err == nil && !now.Up })
		if err := n.Remove("x"); err != nil {
			return err
		}
		until("gone", func(c netns.Change, now netns.Link, err error) bool {
			return c == netns.Change{Index: index, Name: "x", Removed: true} && errors.Is(err, fs.ErrNotExist)
		})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
