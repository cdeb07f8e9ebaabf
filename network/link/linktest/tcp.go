package linktest

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/link"
	"github.com/quintet-os/quintet/network/segment"
)

// conversation is one end, inside, of a TCP connection with the kernel: just enough
// of TCP for a cable that loses nothing.
type conversation struct {
	t        *testing.T
	l        link.Link
	outside  net.Conn // the kernel's end
	wire     Wire     // of what is sent next
	received []byte
}

// newConversation connects to a listener of the kernel, over IPv4 or IPv6.
func newConversation(t *testing.T, s *System, family int) *conversation {
	t.Helper()
	var listener net.Listener
	err := s.Outside.Do(func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(OutsideIPs[family].String(), "0"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	c := &conversation{t: t, l: s.Link, wire: Wire{
		Src: InsideIPs[family], Dst: OutsideIPs[family], Protocol: ProtocolTCP, Window: 0xffff,
		SrcPort: uint16(2000 + rand.IntN(60000)), DstPort: uint16(listener.Addr().(*net.TCPAddr).Port), Seq: rand.Uint32(),
	}}
	c.send(SYN, nil, 0)
	answer := c.next()
	if answer.Flags != SYN|ACK || answer.Ack != c.wire.Seq+1 {
		t.Fatalf("the kernel answers %+v", answer)
	}
	c.wire.Seq, c.wire.Ack = answer.Ack, answer.Seq+1
	c.send(ACK, nil, 0)
	if c.outside, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.outside.Close() })
	c.outside.SetDeadline(timeLimit())
	return c
}

func (c *conversation) send(flags uint8, payload []byte, size int) {
	c.t.Helper()
	w := c.wire
	w.Flags, w.Payload = flags, payload
	if err := transmit(c.l, Packet(Inside, w, size, 0)); err != nil {
		c.t.Fatal(err)
	}
}

// next waits for a frame of the conversation.
func (c *conversation) next() Wire {
	c.t.Helper()
	wires := c.nextAll()
	if len(wires) != 1 {
		c.t.Fatalf("%d segments where one was expected", len(wires))
	}
	return wires[0]
}

// nextAll waits for a frame of the conversation and returns it as it would be on a
// wire: cut, and with all checksums, which are checked.
func (c *conversation) nextAll() (wires []Wire) {
	c.t.Helper()
	f, err := receive(c.l, func(f *link.Frame) bool {
		wires = c.cut(f)
		return len(wires) > 0
	})
	if err != nil {
		c.t.Fatal(err)
	}
	if f.Offload.GSO == network.GSONone && f.Len() > c.l.Info().MTU+network.EthernetBytes {
		c.t.Fatalf("a frame of %d bytes that is not to be cut", f.Len())
	}
	return wires
}

func (c *conversation) cut(f *link.Frame) (wires []Wire) {
	c.t.Helper()
	if !bytes.Equal(f.Head[:6], Inside.Src[:]) {
		return nil
	}
	var cutter segment.Cutter
	cutter.Reset(f.Head, nil, f.Offload)
	for b := make([]byte, cutter.Longest()); ; {
		n := cutter.Next(b)
		if n == 0 {
			return wires
		}
		w, err := ParseWire(b[:n])
		if err != nil {
			c.t.Fatalf("a frame of %d bytes with %+v: %v", f.Len(), f.Offload, err)
		}
		if w.Protocol != ProtocolTCP || w.DstPort != c.wire.SrcPort || w.SrcPort != c.wire.DstPort {
			return nil
		}
		w.Payload = append([]byte{}, w.Payload...)
		wires = append(wires, w)
	}
}

const sentBytes = 40_000

// kernelTakesSuperSegments: the kernel's TCP reads what was sent as one
// super-segment, which proves all headers and checksums of its pieces.
func kernelTakesSuperSegments(t *testing.T, s *System) {
	for family := range InsideIPs {
		c := newConversation(t, s, family)
		for _, size := range []int{1400, 536, 1000} {
			want := make([]byte, sentBytes)
			for i := range want {
				want[i] = byte(i ^ i>>8 ^ size)
			}
			c.send(ACK|PSH, want, size)
			c.wire.Seq += sentBytes
			got := make([]byte, sentBytes)
			if _, err := io.ReadFull(c.outside, got); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("family %d, segments of %d: the kernel has read something else: %v", family, size, err)
			}
		}
	}
}

// kernelSendsSegments: what the kernel sends arrives whole, cut or to be cut.
func kernelSendsSegments(t *testing.T, s *System) {
	for family := range InsideIPs {
		c := newConversation(t, s, family)
		want := make([]byte, 300_000)
		for i := range want {
			want[i] = byte(i ^ i>>8 ^ i>>16)
		}
		written := make(chan error, 1)
		go func() {
			_, err := c.outside.Write(want)
			written <- err
		}()
		for len(c.received) < len(want) {
			for _, w := range c.nextAll() {
				if w.Seq == c.wire.Ack {
					c.wire.Ack += uint32(len(w.Payload))
					c.received = append(c.received, w.Payload...)
				}
			}
			c.send(ACK, nil, 0)
		}
		if err := <-written; err != nil || !bytes.Equal(c.received, want) {
			t.Fatalf("family %d: what came is not what was sent: %v", family, err)
		}
	}
}
