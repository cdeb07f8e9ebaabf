package network

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/quintet-os/quintet/ipc"
)

func TestFrameSurvivesItsDescriptor(t *testing.T) {
	for _, f := range []Frame{
		{Offset: 65600, Length: 60},
		{Offset: 1 << 20, Length: 65000, Offload: Offload{Flags: NeedsChecksum, GSO: GSOTCP6, HeaderBytes: 86, SegmentBytes: 1440, ChecksumStart: 54, ChecksumOffset: 16}},
		{Length: 100, Offload: Offload{Flags: NeedsChecksum, ChecksumStart: 34, ChecksumOffset: 6}},
	} {
		d := f.Encode()
		if got, err := DecodeFrame(&d, 2<<20); err != nil || got != f {
			t.Errorf("%+v came back as %+v, %v", f, got, err)
		}
	}
}

func FuzzDecodeFrame(f *testing.F) {
	f.Add(uint64(0), uint64(60), uint64(0), uint64(0))
	f.Add(uint64(0), uint64(3000|1<<32|1<<40|54<<48), uint64(1400|34<<16|16<<32), uint64(0))
	f.Fuzz(func(t *testing.T, a, b, c, d uint64) {
		const region = 8 * BufferBytes
		words := ipc.Descriptor{a, b, c, d}
		got, err := DecodeFrame(&words, region)
		if err != nil {
			if !errors.Is(err, KindDescriptor) {
				t.Fatalf("an error without its kind: %v", err)
			}
			return
		}
		if got.Offset+uint64(got.Length) > region || got.Length > FrameBytesMax {
			t.Fatalf("accepted %+v", got)
		}
		if o := got.Offload; o.Flags&NeedsChecksum != 0 && uint32(o.ChecksumStart)+uint32(o.ChecksumOffset)+2 > got.Length ||
			o.GSO != GSONone && (uint32(o.HeaderBytes) > got.Length || o.SegmentBytes < SegmentBytesMin) {
			t.Fatalf("accepted %+v", got)
		}
		if back := got.Encode(); back != words {
			t.Fatalf("%v came back as %v", words, back)
		}
	})
}

func TestFinishedChecksumVerifies(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		frame := make([]byte, 14+20+8+r.IntN(100))
		for i := range frame {
			frame[i] = byte(r.Uint32())
		}
		pseudo := Sum(uint64(17)+uint64(len(frame)-34), frame[26:34])
		binary.BigEndian.PutUint16(frame[40:], Fold(pseudo))
		o := Offload{Flags: NeedsChecksum, ChecksumStart: 34, ChecksumOffset: 6}
		o.FinishChecksum(frame)
		// One 16-bit word after the other, as RFC 1071 has it.
		sum := uint32(17 + len(frame) - 34)
		for i := 26; i < len(frame); i += 2 {
			word := uint32(frame[i]) << 8
			if i+1 < len(frame) {
				word |= uint32(frame[i+1])
			}
			if sum += word; sum > 0xffff {
				sum -= 0xffff
			}
		}
		if sum != 0xffff {
			t.Fatalf("a finished frame of %d bytes sums to %#x", len(frame), sum)
		}
	}
}

func TestPortConfigCheck(t *testing.T) {
	good := PortConfig{MTU: 1500, MAC: MAC{2, 0, 0, 0, 0, 1}}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*PortConfig){
		"MTU":       func(c *PortConfig) { c.MTU = 100 },
		"group MAC": func(c *PortConfig) { c.MAC = Broadcast },
		"no MAC":    func(c *PortConfig) { c.MAC = MAC{} },
		"VLAN":      func(c *PortConfig) { c.VLAN = 4095 },
		"trunk":     func(c *PortConfig) { c.Trunk = []uint16{7, 7} },
		"own trunk": func(c *PortConfig) { c.VLAN, c.Trunk = 7, []uint16{7} },
		"rate":      func(c *PortConfig) { c.Rate = 1 },
		"group":     func(c *PortConfig) { c.Group = -1 },
		"no address": func(c *PortConfig) {
			c.Addresses = append(c.Addresses, good.MAC.LinkLocal().Prev(), MAC{}.LinkLocal().WithZone("x"))
		},
	} {
		cfg := good
		if spoil(&cfg); !errors.Is(cfg.Check(), KindConfig) {
			t.Errorf("a bad %s is accepted: %v", name, cfg.Check())
		}
	}
}
