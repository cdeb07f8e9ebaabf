package packet_test

import (
	"testing"

	"github.com/quintet-os/quintet/internal/netns"
	"github.com/quintet-os/quintet/network/link"
	"github.com/quintet-os/quintet/network/link/linktest"
	"github.com/quintet-os/quintet/network/link/packet"
)

func open(t *testing.T, inside *netns.Namespace, name string, mtu int) link.Link {
	t.Helper()
	index, err := inside.Index(name)
	if err != nil {
		t.Fatal(err)
	}
	var l link.Link
	err = inside.Do(func() error {
		fd, err := packet.Open(index)
		if err == nil {
			l = packet.New(fd, name, mtu)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestConformance(t *testing.T) {
	for _, c := range []struct {
		name string
		mtu  int
		sums bool
	}{{"offloads", 1500, true}, {"finished checksums", 1500, false}, {"jumbo", 9000, true}} {
		t.Run(c.name, func(t *testing.T) {
			linktest.Run(t, func(t *testing.T) *linktest.System { return linktest.NewVeth(t, c.mtu, c.sums, open) })
		})
	}
}
