package server_test

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/quintet-os/quintet/network/server"
)

// records splits a capture into its frames, and checks the headers.
func records(t *testing.T, file []byte, at time.Time) (frames [][]byte) {
	t.Helper()
	header := []byte{0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11, 0, 1, 0, 1, 0, 0, 0}
	if !bytes.HasPrefix(file, header) {
		t.Fatalf("the file begins with %x", file[:min(len(file), 24)])
	}
	for file = file[24:]; len(file) > 0; {
		le := binary.LittleEndian
		if s, ns := le.Uint32(file), le.Uint32(file[4:]); int64(s) != at.Unix() || int(ns) != at.Nanosecond() {
			t.Errorf("a record at %d.%09d, want %v", s, ns, at)
		}
		n := le.Uint32(file[8:])
		if n != le.Uint32(file[12:]) || int(n) > len(file)-16 {
			t.Fatalf("a record of %d bytes", n)
		}
		frames = append(frames, file[16:16+n])
		file = file[16+n:]
	}
	return frames
}

func TestCaptureSeesBothDirections(t *testing.T) {
	b := newBench(t, hosts(3)...)
	epoch := time.Unix(1_700_000_000, 0)
	tap := server.NewCapture(epoch)
	b.Core.Capture(b.sides[0].Session, tap)
	b.Now = 1500 * time.Millisecond
	out, in, other := b.sides[0].to(b.sides[1], 1), b.sides[1].to(b.sides[0], 2), b.sides[1].to(b.sides[2], 3)
	b.sides[0].send(out)
	b.Settle()
	b.sides[1].send(in)
	b.sides[1].send(other)
	b.Settle()
	// However little is taken at once, it is whole records.
	var file []byte
	for piece := tap.Take(1); len(piece) > 0; piece = tap.Take(1) {
		file = append(file, piece...)
	}
	frames := records(t, file, epoch.Add(b.Now))
	if len(frames) != 2 || !bytes.Equal(frames[0], out) || !bytes.Equal(frames[1], in) {
		t.Errorf("captured %q", frames)
	}
	if rest := tap.Take(1 << 20); len(rest) != 0 {
		t.Errorf("%d bytes captured twice", len(rest))
	}
}
