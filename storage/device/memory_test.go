package device_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/quintet-os/quintet/storage"
	"github.com/quintet-os/quintet/storage/device"
)

// What a memory device does in one Reap is bounded, however much it is asked to do, and
// in the end all has been done, once each.
func TestMemoryWorksInBoundedPieces(t *testing.T) {
	const block, size, half, depth = 512, 64 << 20, 32 << 20, 64
	const reapMax = 512 << 10 // no more than this changes at a time
	data := bytes.Repeat([]byte{0xff}, size)
	d, err := device.NewMemory(data, block, depth)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	payload := bytes.Repeat([]byte{7}, storage.TransferMax)
	want := bytes.Repeat([]byte{0xff}, size)
	clear(want[:half])
	for i := range uint64(depth) {
		op := storage.Operation{Tag: i, Op: storage.OpWriteZeroes, Length: half}
		switch i % 3 {
		case 1:
			op = storage.Operation{Tag: i, Op: storage.OpWrite, Mem: payload, Offset: half + int64(i)<<20%half, Length: int64(len(payload))}
			copy(want[op.Offset:], payload)
		case 2:
			op = storage.Operation{Tag: i, Op: storage.OpDiscard, Length: half}
		}
		if !d.Submit(&op) {
			t.Fatal("an idle device is full")
		}
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
	slices.Sort(got)
	for i := range uint64(depth) {
		if len(got) != depth || got[i] != i {
			t.Fatalf("%d operations have ended as %v", depth, got)
		}
	}
	if !bytes.Equal(data, want) {
		t.Error("the memory does not hold what was written")
	}
}

// A short operation waits for a piece of each long one, not for their ends.
func TestShortOperationDoesNotWaitForLongOnes(t *testing.T) {
	const block, size, long = 512, 64 << 20, 4
	d, err := device.NewMemory(make([]byte, size), block, long+1)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for i := range uint64(long) {
		d.Submit(&storage.Operation{Tag: i, Op: storage.OpWriteZeroes, Offset: int64(i) * size / long, Length: size / long})
	}
	d.Submit(&storage.Operation{Tag: long, Op: storage.OpRead, Mem: make([]byte, block), Length: block})
	var done [long + 1]storage.Completion
	for reaps := 1; ; reaps++ {
		if n := d.Reap(done[:]); n > 0 {
			if done[0].Tag != long {
				t.Errorf("operation %d has ended first", done[0].Tag)
			}
			return
		}
		if reaps == 2 {
			t.Fatal("a short operation waits for long ones")
		}
	}
}
