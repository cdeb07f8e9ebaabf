package server_test

import (
	"slices"
	"testing"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/storage"
)

// pinner is a device that says what is attached to it, as buffer 7.
type pinner struct {
	storage.Device
	attached int
}

func (p *pinner) Attach([]byte) int { p.attached++; return 7 }
func (p *pinner) Detach(int)        { p.attached-- }

// TestRegionIsPinnedOnceItIsUsed: when as much has moved as a piece of it holds; a
// standby does so when told, and says nothing.
func TestRegionIsPinnedOnceItIsUsed(t *testing.T) {
	b := newBench(t)
	p := &pinner{Device: b.device.Device}
	b.device.Device = p
	var buffers []int
	b.device.Record = func(op *storage.Operation, c *storage.Completion) {
		if c == nil {
			buffers = append(buffers, op.Buffer)
		}
	}
	var pinned []int
	b.core.Pinned = func(_ *ipc.Session, region, piece int) { pinned = append(pinned, region, piece) }
	c := b.connect(false, storage.Limits{})
	const piece = regionBytes / 4
	for range 6 {
		call := c.start(storage.Request{Op: storage.OpRead, Length: piece})
		b.settle()
		c.want(call, storage.KindOK)
	}
	if want := []int{-1, -1, -1, 7, 7, 7}; !slices.Equal(buffers, want) {
		t.Errorf("operations had buffers %v, want %v", buffers, want)
	}
	if p.attached != 1 || !slices.Equal(pinned, []int{0, 0}) {
		t.Errorf("%d regions attached, %v reported", p.attached, pinned)
	}
	for _, piece := range []int{0, 0, 1, -1} {
		b.core.PinPiece(c.served, 0, piece)
	}
	b.core.PinPiece(c.served, 1, 0)
	b.core.PinPiece(c.served, 1, 0)
	b.core.PinPiece(c.served, 9, 0)
	if p.attached != 2 || len(pinned) != 2 {
		t.Errorf("as a standby: %d regions attached, %v reported", p.attached, pinned)
	}
	b.core.RemoveRegion(c.served, 0, func() {})
	b.core.RemoveRegion(c.served, 1, func() {})
	if p.attached != 0 {
		t.Errorf("%d regions attached after all were revoked", p.attached)
	}
	other := b.connect(false, storage.Limits{})
	call := other.start(read(0, 0))
	b.settle()
	other.want(call, storage.KindOK)
	b.core.RemoveRegion(other.served, 0, func() {})
	if p.attached != 0 {
		t.Errorf("%d regions detached that had not been attached", -p.attached)
	}
}

// TestPinningIsBounded: a session has so many pieces pinned and no more, whatever it
// grants, and what lies in two pieces goes without.
func TestPinningIsBounded(t *testing.T) {
	const piece, pieces, most = 2 << 20, 40, 32
	b := newBench(t)
	p := &pinner{Device: b.device.Device}
	b.device.Device = p
	var last int
	b.device.Record = func(op *storage.Operation, c *storage.Completion) {
		if c == nil {
			last = op.Buffer
		}
	}
	c := b.connect(false, storage.Limits{})
	c.served.AddRegion(&ipc.Region{ID: 5, Mem: make([]byte, pieces*piece), Writable: true})
	transfer := func(offset int64) {
		t.Helper()
		call := c.start(storage.Request{Op: storage.OpRead, Region: 5, RegionOffset: offset, Length: storage.TransferMax})
		b.settle()
		c.want(call, storage.KindOK)
	}
	for i := range int64(pieces) {
		transfer(i * piece)
		transfer(i*piece + storage.TransferMax)
	}
	if p.attached != most {
		t.Errorf("%d pieces are attached, want %d", p.attached, most)
	}
	if transfer(0); last == storage.BufferNone {
		t.Error("a pinned piece is not used")
	}
	if transfer(piece - blockBytes); last != storage.BufferNone {
		t.Error("a transfer over two pieces has a buffer")
	}
	b.core.RemoveSession(c.served, func() {})
	if p.attached != 0 {
		t.Errorf("%d pieces are attached after the session's end", p.attached)
	}
}
