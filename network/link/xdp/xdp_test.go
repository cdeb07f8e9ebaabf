package xdp_test

import (
	"errors"
	"testing"
	"time"

	"github.com/quintet-os/quintet/internal/netns"
	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/network/link"
	"github.com/quintet-os/quintet/network/link/linktest"
	"github.com/quintet-os/quintet/network/link/xdp"
)

func open(t *testing.T, inside *netns.Namespace, name string, mtu int, mode xdp.Mode) *xdp.Descriptors {
	t.Helper()
	index, err := inside.Index(name)
	if err != nil {
		t.Fatal(err)
	}
	var d *xdp.Descriptors
	err = inside.Do(func() error {
		d, err = xdp.Open(index, 1, mtu, mode)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func opener(mode xdp.Mode) linktest.Opener {
	return func(t *testing.T, inside *netns.Namespace, name string, mtu int) link.Link {
		t.Helper()
		l, err := xdp.New(open(t, inside, name, mtu, mode), name, mtu)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
}

func TestConformance(t *testing.T) {
	for _, c := range []struct {
		name string
		mode xdp.Mode
		mtu  int
	}{{"native", xdp.Native, 1500}, {"generic", xdp.Generic, 1500}, {"jumbo native", xdp.Native, 9000}, {"jumbo generic", xdp.Generic, 9000}} {
		t.Run(c.name, func(t *testing.T) {
			linktest.Run(t, func(t *testing.T) *linktest.System { return linktest.NewVeth(t, c.mtu, false, opener(c.mode)) })
		})
	}
}

// TestSuccession: a successor that gets the kept descriptors goes on where a link
// that died was: it receives what came in meanwhile, once, and sends.
func TestSuccession(t *testing.T) {
	for name, mode := range map[string]xdp.Mode{"native": xdp.Native, "generic": xdp.Generic} {
		t.Run(name, func(t *testing.T) {
			var kept *xdp.Descriptors
			s := linktest.NewVeth(t, 1500, false, func(t *testing.T, inside *netns.Namespace, name string, mtu int) link.Link {
				kept = open(t, inside, name, mtu, mode)
				return successor(t, kept)
			})
			defer func() {
				if err := kept.Close(); err != nil {
					t.Error(err)
				}
			}()
			for generation := range 5 {
				linktest.Succeed(t, s, func() link.Link { return successor(t, kept) })
				if t.Failed() {
					t.Fatalf("generation %d", generation)
				}
			}
		})
	}
}

func successor(t *testing.T, kept *xdp.Descriptors) link.Link {
	t.Helper()
	dup := func(fd int) int {
		d, err := unix.Dup(fd)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := &xdp.Descriptors{Program: dup(kept.Program), Holder: dup(kept.Holder)}
	for _, q := range kept.Queues {
		d.Queues = append(d.Queues, xdp.Queue{Socket: dup(q.Socket), Memory: dup(q.Memory)})
	}
	l, err := xdp.New(d, linktest.InsideName, 1500)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestQueueIsOneOwners: a queue that is taken is refused, and free again when its
// link has been closed.
func TestQueueIsOneOwners(t *testing.T) {
	inside, outside := linktest.NewNamespace(t), linktest.NewNamespace(t)
	if err := inside.Veth(netns.Interface{Name: "a"}, outside, netns.Interface{Name: "b"}); err != nil {
		t.Fatal(err)
	}
	index, err := inside.Index("a")
	if err != nil {
		t.Fatal(err)
	}
	// The kernel lets go of a closed queue some time later.
	open := func(index, queues int) (d *xdp.Descriptors, err error) {
		for deadline := time.Now().Add(10 * time.Second); ; {
			err = inside.Do(func() error {
				d, err = xdp.Open(index, queues, 1500, xdp.Native)
				return err
			})
			if !errors.Is(err, link.KindBusy) || time.Now().After(deadline) {
				return d, err
			}
		}
	}
	for range 5 {
		d, err := open(index, 1)
		if err != nil {
			t.Fatal(err)
		}
		l, err := xdp.New(d, "a", 1500)
		if err != nil {
			t.Fatal(err)
		}
		err = inside.Do(func() error {
			_, err := xdp.Open(index, 1, 1500, xdp.Native)
			return err
		})
		if !errors.Is(err, link.KindBusy) {
			t.Errorf("opened twice: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for what, c := range map[string]struct {
		index, queues int
		kind          link.Kind
	}{"no such interface": {9999, 1, link.KindMissing}, "no such queue": {index, 9, link.KindConfig}, "no queue": {index, 0, link.KindConfig}} {
		if _, err := open(c.index, c.queues); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
