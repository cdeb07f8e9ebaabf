package client_test

import (
	"errors"
	"io"
	"net/netip"
	"testing"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/client"
	"github.com/quintet-os/quintet/network/client/frames"
	"github.com/quintet-os/quintet/network/networktest"
)

// When everything that was on its way is lost at once, super-segments too, a
// connection needs one timeout to go on, and not one for each segment of them.
func TestBurstOfLoss(t *testing.T) {
	const bursts, burst = 5, 512 << 10
	r := networktest.New(t)
	host := networktest.Host(1)
	m := r.Join(host, networktest.StackBuffers)
	port, err := frames.NewPort(m.Client, m.Region, m.Buffers)
	if err != nil {
		t.Fatal(err)
	}
	a, err := client.NewStack(port, networktest.StackConfig(host))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b := r.Stack(2)
	r.Serve()
	l, err := b.Listen("tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := a.Dial("tcp", netip.AddrPortFrom(networktest.Host(2).Addresses[0], 7).String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	// The window opens first, so that much is on its way later.
	carry(t, near, far, 64<<20)
	lost := 0
	for range bursts {
		r.Kill()
		if _, err := near.Write(make([]byte, burst)); err != nil { // it waits in the socket's buffer
			t.Fatal(err)
		}
		var d ipc.Descriptor
		send := m.Session.Out(network.RingSend)
		for send.Pop(&d) {
			lost++
		}
		send.Commit()
		r.Succeed()
		r.Serve()
		if _, err := io.CopyN(io.Discard, far, burst); err != nil {
			t.Fatal(err)
		}
	}
	segments, timeouts := a.Retransmissions()
	t.Logf("%d frames were lost in %d bursts; %d segments were sent again, %d times after a timeout", lost, bursts, segments, timeouts)
	if lost < bursts {
		t.Error("too little was on its way when it should have been lost")
	}
	// A slow machine may let a timeout pass while what another one repeats is on its way.
	if timeouts > 3*bursts {
		t.Errorf("%d timeouts after %d bursts of loss", timeouts, bursts)
	}
}

// carry sends so many bytes from one end to the other.
func carry(t *testing.T, near io.Writer, far io.Reader, n int64) {
	t.Helper()
	written := make(chan error, 1)
	go func() {
		_, err := near.Write(make([]byte, n))
		written <- err
	}()
	_, err := io.CopyN(io.Discard, far, n)
	if err := errors.Join(err, <-written); err != nil {
		t.Fatal(err)
	}
}
