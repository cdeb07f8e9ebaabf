package linktest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/network"
	"github.com/quintet-os/quintet/network/link"
)

// Test is something that must hold of every link.
type Test struct {
	Name string
	Run  func(t *testing.T, s *System)
}

// Tests are the suite. Each wants a System of its own.
var Tests = []Test{
	{"FramesLeave", framesLeave},
	{"FramesComeIn", framesComeIn},
	{"TagsStay", tagsStay},
	{"ArrivalWakes", arrivalWakes},
	{"ChecksumsAreFinished", checksumsAreFinished},
	{"KernelTakesSuperSegments", kernelTakesSuperSegments},
	{"KernelSendsSegments", kernelSendsSegments},
	{"BadFramesAreCounted", badFramesAreCounted},
	{"DownAndUp", downAndUp},
	{"Gone", gone},
}

// Run runs the suite, each test over a system that open makes.
func Run(t *testing.T, open func(t *testing.T) *System) {
	for _, test := range Tests {
		t.Run(test.Name, func(t *testing.T) { test.Run(t, open(t)) })
	}
}

const (
	floodFrames = 2000
	windowMax   = 32 // frames on their way, so that no queue overflows
)

func isPlain(f *link.Frame) bool {
	return f.Len() >= plainNumber+4 && binary.BigEndian.Uint16(f.Head[12:]) == plainType
}

// stream sends frames of many sizes and expects them in order at the other end.
func stream(t *testing.T, from, to link.Link, e Ends, mtu int) {
	t.Helper()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	for number := 0; number < floodFrames; {
		var window []link.Frame
		for range 1 + r.IntN(windowMax) {
			f := Plain(e, uint32(number), plainMinimum+r.IntN(mtu-plainMinimum-3))
			cut := r.IntN(f.Len() - plainNumber + 1)
			f.Head, f.Rest = f.Head[:plainNumber+cut], f.Head[plainNumber+cut:]
			window = append(window, f)
			number++
		}
		if err := transmit(from, window...); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for i, want := range window {
			got, err := receive(to, isPlain)
			if err != nil {
				t.Fatalf("seed %d: frame %d of %d: %v", seed, i, len(window), err)
			}
			if !bytes.Equal(got.Head, append(want.Head[:len(want.Head):len(want.Head)], want.Rest...)) || got.Offload != (network.Offload{}) {
				t.Fatalf("seed %d: frame %d of %d bytes came as %d bytes, %+v", seed, i, want.Len(), got.Len(), got.Offload)
			}
		}
	}
}

func framesLeave(t *testing.T, s *System) {
	stream(t, s.Link, s.peer, Inside, s.Link.Info().MTU)
	if c := s.Link.Counters(); c.Sent < floodFrames || c.Drops != [network.DropsEnd]uint64{} {
		t.Errorf("counters %+v", c)
	}
}

func framesComeIn(t *testing.T, s *System) {
	stream(t, s.peer, s.Link, Ends{Src: Inside.Dst, Dst: Inside.Src}, s.Link.Info().MTU)
	// To other addresses too: the switch has many behind one link.
	stream(t, s.peer, s.Link, Ends{Src: Inside.Dst, Dst: network.MAC{2, 9, 9, 9, 9, 9}}, s.Link.Info().MTU)
	if c := s.Link.Counters(); c.Lost != 0 {
		t.Errorf("%d frames were lost", c.Lost)
	}
}

func tagsStay(t *testing.T, s *System) {
	for i := range InsideIPs {
		w := Wire{Src: OutsideIPs[i], Dst: InsideIPs[i], Protocol: ProtocolUDP, SrcPort: 7, DstPort: 8, Payload: []byte("tagged")}
		for _, way := range []struct {
			from, to link.Link
			ends     Ends
		}{{s.peer, s.Link, Ends{Inside.Dst, Inside.Src}}, {s.Link, s.peer, Inside}} {
			if err := transmit(way.from, Packet(way.ends, w, 0, 77)); err != nil {
				t.Fatal(err)
			}
			got, err := receive(way.to, func(f *link.Frame) bool {
				return f.Len() > 18 && binary.BigEndian.Uint16(f.Head[12:]) == 0x8100
			})
			if err != nil {
				t.Fatal(err)
			}
			if tag := binary.BigEndian.Uint16(got.Head[14:]); tag != 77 {
				t.Errorf("tag %d", tag)
			}
			expectUDP(t, &got, "tagged")
		}
	}
}

// expectUDP finishes a datagram, checks it and compares what is in it.
func expectUDP(t *testing.T, f *link.Frame, payload string) {
	t.Helper()
	f.Offload.FinishChecksum(f.Head)
	w, err := ParseWire(f.Head)
	if err != nil || string(w.Payload) != payload {
		t.Errorf("%q with %+v: %v", w.Payload, f.Offload, err)
	}
}

// arrivalWakes: an edge for each arrival, though nobody reads the descriptor.
func arrivalWakes(t *testing.T, s *System) {
	epoll, err := unix.NewEpoll(1)
	if err != nil {
		t.Fatal(err)
	}
	defer epoll.Close()
	if err := epoll.Add(s.Link.Wakeup(), 0); err != nil {
		t.Fatal(err)
	}
	for number := range uint32(50) {
		var frames [link.BatchMax]link.Frame
		for n := -1; n != 0; {
			if n, err = s.Link.Receive(frames[:]); err != nil {
				t.Fatal(err)
			}
		}
		if err := epoll.Wait(0, func(int32) {}); err != nil { // what has been received already
			t.Fatal(err)
		}
		if err := transmit(s.peer, Plain(Ends{Inside.Dst, Inside.Src}, number, 60)); err != nil {
			t.Fatal(err)
		}
		woken := false
		if err := epoll.Wait(patience, func(int32) { woken = true }); err != nil || !woken {
			t.Fatalf("frame %d woke nobody: %v", number, err)
		}
		if _, err := receive(s.Link, isPlain); err != nil {
			t.Fatal(err)
		}
	}
}

// checksumsAreFinished: a socket of the kernel receives datagrams whose checksums
// were left to the link.
func checksumsAreFinished(t *testing.T, s *System) {
	for i := range InsideIPs {
		var socket net.PacketConn
		err := s.Outside.Do(func() (err error) {
			socket, err = net.ListenPacket("udp", net.JoinHostPort(OutsideIPs[i].String(), "0"))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		port := socket.LocalAddr().(*net.UDPAddr).Port
		for number := range 20 {
			text := fmt.Sprintf("datagram %d", number)
			w := Wire{Src: InsideIPs[i], Dst: OutsideIPs[i], Protocol: ProtocolUDP, SrcPort: 99, DstPort: uint16(port), Payload: []byte(text)}
			if err := transmit(s.Link, Packet(Inside, w, 0, 0)); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 100)
			socket.SetReadDeadline(timeLimit())
			n, _, err := socket.ReadFrom(b)
			if err != nil || string(b[:n]) != text {
				t.Fatalf("received %q, want %q: %v", b[:n], text, err)
			}
		}
	}
}

func badFramesAreCounted(t *testing.T, s *System) {
	good := Plain(Inside, 1, 60)
	mtu := s.Link.Info().MTU
	long := Plain(Inside, 2, mtu-3)
	w := Wire{Src: InsideIPs[0], Dst: OutsideIPs[0], Protocol: ProtocolTCP, Payload: make([]byte, 9000)}
	wide := Packet(Inside, w, mtu-39, 0)
	torn := Packet(Inside, w, 1000, 0)
	torn.Offload.HeaderBytes = uint16(len(torn.Head) + 1)
	wrong := Packet(Inside, w, 1000, 0)
	wrong.Offload.GSO = network.GSOTCP6
	frames := []link.Frame{{Head: make([]byte, 13)}, long, good, wide, torn, good, wrong}
	if err := transmit(s.Link, frames...); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := receive(s.peer, func(f *link.Frame) bool { return isPlain(f) && f.Len() == good.Len() }); err != nil {
			t.Fatal(err)
		}
	}
	c := s.Link.Counters()
	want := [network.DropsEnd]uint64{network.DropShort: 1, network.DropLong: 2, network.DropMalformed: 2}
	if c.Drops != want || c.Sent != 2 {
		t.Errorf("counters %+v", c)
	}
}
