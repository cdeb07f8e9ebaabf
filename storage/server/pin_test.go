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

// TestRegionIsPinnedOnceItIsUsed: when as much has moved as it holds; a standby
// does so when told, and says nothing.
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
	b.core.Pinned = func(_ *ipc.Session, region int) { pinned = append(pinned, region) }
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
	if p.attached != 1 || !slices.Equal(pinned, []int{0}) {
		t.Errorf("%d regions attached, %v reported", p.attached, pinned)
	}
	b.core.PinRegion(c.served, 0)
	b.core.PinRegion(c.served, 1)
	if p.attached != 2 || len(pinned) != 1 {
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
