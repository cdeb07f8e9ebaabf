package client

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/link/linktest"
)

// Finish gives a frame the checksums that intact looks for, in the most simple way.
func Finish(frame []byte) {
	if len(frame) < header.EthernetMinimumSize {
		return
	}
	ip := frame[header.EthernetMinimumSize:]
	var protocol byte
	var pseudo, data []byte
	switch header.Ethernet(frame).Type() {
	case header.IPv4ProtocolNumber:
		h := header.IPv4(ip)
		if !h.IsValid(len(ip)) {
			return
		}
		put(ip[:h.HeaderLength()], nil, 10)
		if h.More() || h.FragmentOffset() != 0 {
			return
		}
		protocol, pseudo, data = h.Protocol(), ip[12:20], ip[h.HeaderLength():h.TotalLength()]
	case header.IPv6ProtocolNumber:
		h := header.IPv6(ip)
		if !h.IsValid(len(ip)) {
			return
		}
		protocol, pseudo, data = h.NextHeader(), ip[8:40], ip[40:][:h.PayloadLength()]
	}
	at := map[byte]int{1: 2, 6: 16, 17: 6, 58: 2}[protocol]
	if at == 0 || len(data) < at+2 {
		return
	}
	if protocol == 17 {
		if n := int(binary.BigEndian.Uint16(data[4:])); n >= 8 && n < len(data) {
			data = data[:n]
		}
	}
	pseudo = append(append([]byte{}, pseudo...), 0, protocol, byte(len(data)>>8), byte(len(data)))
	if protocol == 1 {
		pseudo = nil
	}
	put(data, pseudo, at)
}

// put stores the checksum of data, and of what is before it, at an offset.
func put(data, before []byte, at int) {
	binary.BigEndian.PutUint16(data[at:], 0)
	sum := ^network.Fold(network.Sum(network.Sum(0, before), data))
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(data[at:], sum)
}

func TestDamagedFramesAreSeen(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	ends := [][2]netip.Addr{{netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("10.4.5.6")}, {netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2")}}
	for n := range 2000 {
		e := ends[n%2]
		w := linktest.Wire{Src: e[0], Dst: e[1], Protocol: []byte{linktest.ProtocolTCP, linktest.ProtocolUDP}[n/2%2], Payload: make([]byte, r.IntN(200))}
		for i := range w.Payload {
			w.Payload[i] = byte(r.Uint32())
		}
		f := linktest.Packet(linktest.Inside, w, 0, 0)
		frame := append(f.Head, f.Rest...)
		f.Offload.FinishChecksum(frame)
		padded := append(append([]byte{}, frame...), make([]byte, r.IntN(3))...) // by the wire
		if !intact(frame) || !intact(padded) {
			t.Fatalf("seed %d: a good frame is refused: %x", seed, frame)
		}
		Finish(frame)
		if !intact(frame) {
			t.Fatalf("seed %d: a finished frame is refused: %x", seed, frame)
		}
		// Of one bit, anywhere behind the type and the lengths.
		at := 14 + 8 + r.IntN(len(frame)-22)
		bit := byte(1) << r.IntN(8)
		frame[at] ^= bit
		hops := e[0].Is6() && at == 14+7 || e[0].Is4() && w.Protocol == linktest.ProtocolUDP && (at == 14+20+4 || at == 14+20+5)
		if intact(frame) && !hops && at != 14+6 && at != 14+9 {
			t.Fatalf("seed %d: byte %d of a frame is damaged: %x", seed, at, frame)
		}
	}
}
