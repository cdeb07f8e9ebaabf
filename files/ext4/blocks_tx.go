package ext4

import (
	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/disk"
)

// writeGroup stores the descriptor of g. g.mu is held.
func (t *tx) writeGroup(g *group) error {
	sb := t.f.sb
	per := sb.DescPerBlock()
	b, err := t.f.cache.Get(sb.DescBlock(g.n/per), 0, nil)
	if err != nil {
		return err
	}
	defer b.Release()
	if err := t.modify(b); err != nil {
		return err
	}
	size := sb.GroupDescSize()
	off := int(g.n%per) * size
	g.d.Encode(b.Data[off:off+size], sb, g.n)
	return nil
}

// writableBitmap returns the block bitmap of g to be changed, initialising it
// on its first use. g.mu is held.
func (t *tx) writableBitmap(g *group) (*buffer.Buffer, error) {
	f := t.f
	if f.uninit(g, disk.GroupBlockUninit) {
		b, err := t.create(g.d.BlockBitmap)
		if err != nil {
			return nil, err
		}
		f.initBitmap(g, b.Data)
		g.d.Flags &^= disk.GroupBlockUninit
		b.SetVerified(keyBlockBitmap<<60 | uint64(g.n))
		return b, nil
	}
	b, err := f.blockBitmap(g)
	if err != nil {
		return nil, err
	}
	if err := t.modify(b); err != nil {
		b.Release()
		return nil, err
	}
	return b, nil
}

// use allocates held blocks: they are no longer free on the volume either.
func (t *tx) use(s span) error {
	f := t.f
	n, at := f.sb.GroupOf(s.block)
	g, err := f.groups.get(n)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	b, err := t.writableBitmap(g)
	if err != nil {
		return err
	}
	defer b.Release()
	if nextSet(b.Data, nil, int(at), int(at+s.n)) != int(at+s.n) || g.d.FreeBlocks < s.n {
		return disk.At(disk.Corrupt("block bitmap", "group %d: blocks to be allocated are in use", n), 0, b.Block())
	}
	setBits(b.Data, int(at), int(at+s.n))
	f.dropHeld(g, int(at), int(s.n))
	g.d.FreeBlocks -= s.n
	f.freeBlocks.Add(-int64(s.n))
	t.counts = true
	g.d.BlockBitmapCsum = f.sb.BlockBitmapChecksum(b.Data)
	return t.writeGroup(g)
}

// allocate takes one claimed block for metadata, near goal.
func (t *tx) allocate(goal uint64) (uint64, error) {
	d := t.op.Decision
	if !t.forQuota && t.op.replaying() && d.metadata < len(d.Metadata) {
		s := span{d.Metadata[d.metadata], 1} // held by Expect
		d.metadata++
		return s.block, t.use(s)
	}
	if t.op.decided() && !t.forQuota {
		return 0, refuse(KindInvalid, "replay: more blocks are needed than were recorded", 0, "")
	}
	s, err := t.f.reserve(goal, 1)
	if err != nil {
		return 0, err
	}
	if d != nil && !t.forQuota {
		d.Metadata = append(d.Metadata, s.block)
		d.metadata++
	}
	if t.claimed > 0 {
		t.claimed--
	} else {
		t.f.available.Add(-1)
	}
	return s.block, t.use(s)
}

// free gives blocks back. They are not given out again before the commit.
func (t *tx) free(block uint64, n uint32, metadata bool) error {
	f := t.f
	for n > 0 {
		gn, at := f.sb.GroupOf(block)
		part := min(n, f.sb.BlocksPerGroup-at)
		if err := t.freeIn(gn, at, part); err != nil {
			return err
		}
		if metadata {
			for i := range uint64(part) {
				if err := t.h.Forget(block + i); err != nil {
					return err
				}
			}
		}
		t.freed = append(t.freed, span{block, part})
		block += uint64(part)
		n -= part
	}
	return nil
}

func (t *tx) freeIn(n, at, count uint32) error {
	f := t.f
	g, err := f.groups.get(n)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	b, err := t.writableBitmap(g)
	if err != nil {
		return err
	}
	defer b.Release()
	end := int(at + count)
	if end > int(f.sb.GroupBlocks(n)) || nextClear(b.Data, nil, int(at), end) != end {
		return disk.At(disk.Corrupt("block bitmap", "group %d: blocks to be freed are free", n), 0, b.Block())
	}
	for i := int(at); i < end; i++ {
		b.Data[i>>3] &^= 1 << (i & 7)
	}
	f.hold(g, int(at), int(count))
	f.pending.Add(int64(count))
	g.d.FreeBlocks += count
	f.freeBlocks.Add(int64(count))
	t.counts = true
	g.d.BlockBitmapCsum = f.sb.BlockBitmapChecksum(b.Data)
	return t.writeGroup(g)
}
