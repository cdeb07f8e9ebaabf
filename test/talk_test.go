package test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quintet-os/quintet/app"
	"github.com/quintet-os/quintet/internal/netns"
)

// talk is a connection on which an application and somebody outside say numbers to each
// other, one after the other, as long as it lasts.
type talk struct {
	t      *testing.T
	rounds atomic.Int64
	failed chan error
}

// startTalk has an application talk with an echo in a namespace, where it has that
// address.
func startTalk(t *testing.T, n *app.Network, world *netns.Namespace, at netip.Addr) *talk {
	t.Helper()
	l := listenIn(t, world, ":7")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	c, err := n.DialContext(t.Context(), "tcp", netip.AddrPortFrom(at, 7).String())
	if err != nil {
		t.Fatal(err)
	}
	return talkOn(t, c)
}

// talkOn talks with whoever is at the other end of a connection, which it closes.
func talkOn(t *testing.T, c net.Conn) *talk {
	t.Helper()
	t.Cleanup(func() { c.Close() })
	k := &talk{t: t, failed: make(chan error, 1)}
	go func() { k.failed <- k.run(c) }()
	k.goesOn()
	return k
}

func (k *talk) run(c net.Conn) error {
	for said, heard := make([]byte, 8), make([]byte, 8); ; k.rounds.Add(1) {
		binary.BigEndian.PutUint64(said, uint64(k.rounds.Load()))
		if _, err := c.Write(said); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, heard); err != nil {
			return err
		}
		if string(said) != string(heard) {
			return fmt.Errorf("%x comes back as %x", said, heard)
		}
	}
}

// goesOn checks that the connection is in use again, or still.
func (k *talk) goesOn() {
	k.t.Helper()
	before := k.rounds.Load()
	for deadline := time.Now().Add(patience); k.rounds.Load() < before+10; time.Sleep(pollPeriod) {
		select {
		case err := <-k.failed:
			k.t.Fatalf("after %d rounds: %v", k.rounds.Load(), err)
		default:
		}
		if time.Now().After(deadline) {
			k.t.Fatalf("no more than %d rounds after %v", k.rounds.Load(), patience)
		}
	}
}
