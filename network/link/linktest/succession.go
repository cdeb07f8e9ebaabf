package linktest

import (
	"bytes"
	"testing"

	"github.com/quintet-os/quintet/network/link"
)

// succeededFrames are sent while no link is there.
const succeededFrames = 100

// Succeed ends the link as a death would, has frames come in, and replaces it by
// what successor returns. All frames must be there, once and in order, and the new
// link must send.
func Succeed(t *testing.T, s *System, successor func() link.Link) {
	t.Helper()
	framesLeave(t, s)
	var before [link.BatchMax]link.Frame
	if _, err := s.Link.Receive(before[:]); err != nil { // chunks that the dead one held
		t.Fatal(err)
	}
	if err := s.Link.Close(); err != nil {
		t.Fatal(err)
	}
	back := Ends{Src: Inside.Dst, Dst: Inside.Src}
	for number := range uint32(succeededFrames) {
		if err := transmit(s.peer, Plain(back, number, plainMinimum+int(number))); err != nil {
			t.Fatal(err)
		}
	}
	s.Link = successor()
	for number := range uint32(succeededFrames) {
		got, err := receive(s.Link, isPlain)
		if err != nil {
			t.Fatalf("frame %d: %v", number, err)
		}
		if want := Plain(back, number, plainMinimum+int(number)); !bytes.Equal(got.Head, want.Head) {
			t.Fatalf("frame %d is another one", number)
		}
	}
}
