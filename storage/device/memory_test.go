package device_test

import (
	"bytes"
	"testing"

	"github.com/quintet-os/quintet/storage"
	"github.com/quintet-os/quintet/storage/device"
)

// What a memory device does in one Reap is bounded, however much it is asked to do, and
// in the end all has been done, in order.
func TestMemoryWorksInBoundedPieces(t *testing.T) {
	const block, size, depth = 512, 64 << 20, 64
	const reapMax = 512 << 10 // no more than this changes at a time
	data := bytes.Repeat([]byte{0xff}, size)
	d, err := device.NewMemory(data, block, depth)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	payload := bytes.Repeat([]byte{7}, storage.TransferMax)
	var want []uint64
	for i := range uint64(depth) {
		op := storage.Operation{Tag: i, Op: storage.OpWriteZeroes, Length: size}
		switch i % 3 {
		case 1:
			op = storage.Operation{Tag: i, Op: storage.OpWrite, Mem: payload, Offset: int64(i) << 20 % size, Length: int64(len(payload))}
		case 2:
			op = storage.Operation{Tag: i, Op: storage.OpDiscard, Length: size}
		}
		if !d.Submit(&op) {
			t.Fatal("an idle device is full")
		}
		want = append(want, i)
	}
	var done [depth]storage.Completion
	var got []uint64
	for reaps := 0; d.Busy(); reaps++ {
		copied := append([]byte(nil), data...)
		n := d.Reap(done[:])
		changed := 0
		for at := 0; at < size && reaps < 8; at += block {
			if !bytes.Equal(copied[at:at+block], data[at:at+block]) {
				changed += block
			}
		}
		if changed > reapMax {
			t.Fatalf("one Reap has changed %d bytes", changed)
		}
		for _, c := range done[:n] {
			got = append(got, c.Tag)
			if c.Kind != storage.KindOK {
				t.Errorf("operation %d: %v", c.Tag, c.Kind)
			}
		}
		if reaps > depth*size/(128<<10) {
			t.Fatal("no end is in sight")
		}
		if reaps == 8 { // the rest need not be watched
			for d.Busy() {
				for _, c := range done[:d.Reap(done[:])] {
					got = append(got, c.Tag)
				}
			}
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d of %d operations have ended", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("operations ended in the order %v", got)
		}
	}
	// The last of those that change is the zeroing of all, number 63.
	if !bytes.Equal(data, make([]byte, size)) {
		t.Error("the last operation has not zeroed everything")
	}
}
