package segment_test

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/link"
	"github.com/quintet-os/quintet/network/link/linktest"
	"github.com/quintet-os/quintet/network/segment"
)

var ends = linktest.Ends{Src: network.MAC{2, 0, 0, 0, 0, 1}, Dst: network.MAC{2, 0, 0, 0, 0, 2}}

// random returns a TCP packet of any size, and how it is to be cut.
func random(r *rand.Rand) (w linktest.Wire, size int, vlan uint16) {
	w = linktest.Wire{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), Protocol: linktest.ProtocolTCP,
		ID: uint16(r.Uint32()), SrcPort: uint16(r.Uint32()), DstPort: uint16(r.Uint32()),
		Seq: r.Uint32(), Ack: r.Uint32(), Flags: uint8(r.Uint32()), Window: uint16(r.Uint32())}
	if r.IntN(2) == 0 {
		w.Src, w.Dst = netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2")
	}
	w.Payload = make([]byte, r.IntN(1<<r.IntN(17)))
	w.Payload = w.Payload[:min(len(w.Payload), 65535-60)]
	for i := range w.Payload {
		w.Payload[i] = byte(r.Uint32())
	}
	if r.IntN(3) == 0 {
		vlan = uint16(1 + r.IntN(network.VLANMax))
	}
	return w, network.SegmentBytesMin + r.IntN(9000), vlan
}

// split moves the border between the two pieces of a frame.
func split(r *rand.Rand, f link.Frame, headers int) link.Frame {
	whole := append(append([]byte{}, f.Head...), f.Rest...)
	at := headers + r.IntN(len(whole)-headers+1)
	f.Head, f.Rest = whole[:at:at], whole[at:]
	return f
}

func cut(t *testing.T, f link.Frame) (frames [][]byte) {
	t.Helper()
	var c segment.Cutter
	c.Reset(f.Head, f.Rest, f.Offload)
	want, longest := c.Frames(), c.Longest()
	buffer := make([]byte, longest)
	for n := c.Next(buffer); n != 0; n = c.Next(buffer) {
		frames = append(frames, bytes.Clone(buffer[:n]))
	}
	if len(frames) != want {
		t.Fatalf("%d frames, Frames said %d", len(frames), want)
	}
	return frames
}

func TestSegmentsAreWhatTheSenderMeant(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	for range 2000 {
		want, size, vlan := random(r)
		whole := linktest.Packet(ends, want, size, vlan)
		f := split(r, whole, len(whole.Head))
		if !segment.Check(f.Head, f.Len(), f.Offload) {
			t.Fatalf("seed %d: Check refuses %+v", seed, f.Offload)
		}
		before := append(bytes.Clone(f.Head), f.Rest...)
		frames := cut(t, f)
		if after := append(bytes.Clone(f.Head), f.Rest...); !bytes.Equal(before, after) {
			t.Fatalf("seed %d: the source has been changed", seed)
		}
		var payload []byte
		for i, frame := range frames {
			got, err := linktest.ParseWire(frame)
			if err != nil {
				t.Fatalf("seed %d: segment %d of %d: %v", seed, i, len(frames), err)
			}
			flags := want.Flags
			if i > 0 {
				flags &^= linktest.CWR
			}
			if i < len(frames)-1 {
				flags &^= linktest.FIN | linktest.PSH
				if len(got.Payload) != size {
					t.Fatalf("seed %d: segment %d has %d bytes, want %d", seed, i, len(got.Payload), size)
				}
			}
			if got.Flags != flags || got.Seq != want.Seq+uint32(len(payload)) || got.Ack != want.Ack || got.Window != want.Window ||
				got.SrcPort != want.SrcPort || got.DstPort != want.DstPort || got.Src != want.Src || got.Dst != want.Dst {
				t.Fatalf("seed %d: segment %d: %+v of %+v", seed, i, got, want)
			}
			if got.Src.Is4() && got.ID != want.ID+uint16(i) {
				t.Fatalf("seed %d: segment %d has identification %d, the first %d", seed, i, got.ID, want.ID)
			}
			if !bytes.Equal(frame[:12], f.Head[:12]) || vlan != 0 && !bytes.Equal(frame[12:16], f.Head[12:16]) {
				t.Fatalf("seed %d: segment %d has another Ethernet header", seed, i)
			}
			payload = append(payload, got.Payload...)
		}
		if !bytes.Equal(payload, want.Payload) {
			t.Fatalf("seed %d: the payload has changed", seed)
		}
	}
}

func TestDatagramsAreFinished(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	for range 1000 {
		want, _, vlan := random(r)
		want.Protocol = linktest.ProtocolUDP
		whole := linktest.Packet(ends, want, 0, vlan)
		frames := cut(t, split(r, whole, len(whole.Head)))
		if len(frames) != 1 {
			t.Fatalf("seed %d: %d frames", seed, len(frames))
		}
		got, err := linktest.ParseWire(frames[0])
		if err != nil || !bytes.Equal(got.Payload, want.Payload) {
			t.Fatalf("seed %d: %+v of %+v: %v", seed, got, want, err)
		}
	}
}

func FuzzCut(f *testing.F) {
	for _, address := range []string{"10.0.0.1", "fd00::1"} {
		a := netip.MustParseAddr(address)
		w := linktest.Wire{Src: a, Dst: a, Protocol: linktest.ProtocolTCP, Payload: make([]byte, 3000)}
		p := linktest.Packet(ends, w, 1000, 0)
		o := p.Offload
		whole := append(p.Head, p.Rest...)
		f.Add(whole, len(p.Head), uint8(o.GSO), o.HeaderBytes, o.SegmentBytes, o.ChecksumStart, o.ChecksumOffset)
		// A checksum behind the headers, where the last frame has no more room.
		f.Add(whole, len(p.Head)+100, uint8(o.GSO), o.HeaderBytes, uint16(1499), o.ChecksumStart, uint16(61))
		// Nothing behind a tag.
		f.Add([]byte("123456123456\x81\x00\x00\x00\x08\x00"), 18, uint8(network.GSOTCP4), uint16(18), uint16(1), uint16(14), uint16(2))
		// An IP header that is shorter than one can be.
		short := bytes.Clone(whole)
		short[14] &= 0xf0
		f.Add(short, len(p.Head), uint8(o.GSO), o.HeaderBytes, o.SegmentBytes, o.ChecksumStart, o.ChecksumOffset)
	}
	f.Fuzz(func(t *testing.T, frame []byte, head int, gso uint8, header, size, start, offset uint16) {
		if head < 0 || head > len(frame) {
			return
		}
		p := link.Frame{Head: frame[:head:head], Rest: frame[head:], Offload: network.Offload{Flags: network.NeedsChecksum,
			GSO: network.GSO(gso % 3), HeaderBytes: header, SegmentBytes: size, ChecksumStart: start, ChecksumOffset: offset}}
		segment.FlowHash(p.Head)
		if !segment.Check(p.Head, p.Len(), p.Offload) {
			return
		}
		n := 0
		for _, piece := range cut(t, p) {
			n += len(piece)
		}
		if n < len(frame) {
			t.Fatalf("%d bytes became %d", len(frame), n)
		}
	})
}
