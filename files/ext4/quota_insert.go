package ext4

import (
	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/disk"
)

// insertQuota adds an entry for id, which has none. q.mu is held.
func (t *tx) insertQuota(q *quotaFile, id uint32) (quotaPlace, error) {
	t.forQuota = true
	defer func() { t.forQuota = false }()
	p, err := t.takeEntry(q, id)
	if err != nil {
		return p, err
	}
	// The tree is built from below, so that nothing leads to what is not there.
	path := [disk.QuotaDepth]uint32{disk.QuotaRoot}
	for depth := 1; depth < disk.QuotaDepth; depth++ {
		if path[depth-1] != 0 {
			if path[depth], err = q.follow(path[depth-1], id, depth-1); err != nil {
				return p, err
			}
		}
	}
	below := p.block
	for depth := disk.QuotaDepth - 1; ; depth-- {
		known := path[depth] != 0
		if !known {
			if path[depth], err = t.takeQuotaBlock(q); err != nil {
				return p, err
			}
		}
		if err := t.changeQuotaBlock(q, path[depth], func(data []byte) { le.PutUint32(data[disk.QuotaSlot(id, depth):], below) }); err != nil {
			return p, err
		}
		if known {
			break
		}
		below = path[depth]
	}
	q.remember(id, p)
	return p, t.changeQuotaBlock(q, 0, q.info.Encode)
}

// takeEntry makes an entry for id in a block with room, or in a new one.
func (t *tx) takeEntry(q *quotaFile, id uint32) (p quotaPlace, err error) {
	if p.block = q.info.FreeEntry; p.block == 0 {
		if p.block, err = t.takeQuotaBlock(q); err != nil {
			return p, err
		}
		q.info.FreeEntry = p.block
	}
	var next, prev uint32
	full := false
	err = t.changeQuotaBlock(q, p.block, func(data []byte) {
		leaf := disk.QuotaLeaf(data)
		for p.entry < disk.QuotaEntries && !disk.QuotaUnused(leaf.Entry(p.entry)) {
			p.entry++
		}
		if p.entry == disk.QuotaEntries {
			return
		}
		e := disk.Quota{ID: id}
		e.Encode(leaf.Entry(p.entry))
		leaf.SetCount(leaf.Count() + 1)
		if full = leaf.Count() >= disk.QuotaEntries; full {
			next, prev = leaf.Next(), leaf.Prev()
			leaf.SetNext(0)
			leaf.SetPrev(0)
		}
	})
	if err == nil && p.entry == disk.QuotaEntries {
		err = q.damaged("a block that should have room is full")
	}
	if err != nil || !full {
		return p, err
	}
	// It leaves the list of those with room.
	if next != 0 {
		if err := t.changeQuotaBlock(q, next, func(data []byte) { disk.QuotaLeaf(data).SetPrev(prev) }); err != nil {
			return p, err
		}
	}
	if prev != 0 {
		return p, t.changeQuotaBlock(q, prev, func(data []byte) { disk.QuotaLeaf(data).SetNext(next) })
	}
	q.info.FreeEntry = next
	return p, nil
}

// changeQuotaBlock announces a change of a block and makes it.
func (t *tx) changeQuotaBlock(q *quotaFile, n uint32, change func([]byte)) error {
	if n >= q.info.Blocks {
		return q.damaged("a list leads beyond the end")
	}
	b, data, err := q.block(n)
	if err != nil {
		return err
	}
	defer b.Release()
	if err := t.modify(b); err != nil {
		return err
	}
	change(data)
	return nil
}

// takeQuotaBlock takes a block, zeroed, from the list of free ones or from the end of the
// file, which grows if need be. The caller stores q.info.
func (t *tx) takeQuotaBlock(q *quotaFile) (uint32, error) {
	n := q.info.FreeBlock
	if n == 0 {
		n = q.info.Blocks
		if err := t.growQuotaFile(q, n); err != nil {
			return 0, err
		}
		q.info.Blocks++
	}
	b, data, err := q.block(n)
	if err != nil {
		return 0, err
	}
	defer b.Release()
	if q.info.FreeBlock == n {
		if q.info.FreeBlock = disk.QuotaLeaf(data).Next(); q.info.FreeBlock >= q.info.Blocks {
			return 0, q.damaged("the list of free blocks leads beyond the end")
		}
	}
	if err := t.modify(b); err != nil {
		return 0, err
	}
	clear(data)
	return n, nil
}

// growQuotaFile makes the file long enough for block n. Nobody who waits for a handle
// holds the lock of its inode.
func (t *tx) growQuotaFile(q *quotaFile, n uint32) error {
	f, i := t.f, q.inode
	i.mu.Lock()
	defer i.mu.Unlock()
	end := (uint64(n) + 1) * disk.QuotaBlockSize
	if end > disk.QuotaFileMax {
		return q.damaged("would be longer than tools read")
	}
	logical := uint32((end - 1) >> f.shift)
	m, err := f.mapBlock(i, logical)
	if err != nil {
		return err
	}
	if m.hole() || m.Unwritten {
		var b *buffer.Buffer
		if b, err = t.appendQuotaBlock(i, logical); err != nil {
			return err
		}
		b.Release()
	}
	i.d.Size = max(i.d.Size, end)
	i.d.Mtime, i.d.Ctime = t.now, t.now
	return t.writeInode(i)
}

// appendQuotaBlock maps a new block, zeroed.
func (t *tx) appendQuotaBlock(i *inode, logical uint32) (*buffer.Buffer, error) {
	goal, err := t.f.dataGoal(i, logical)
	if err != nil {
		return nil, err
	}
	block, err := t.allocate(goal)
	if err != nil {
		return nil, err
	}
	if err := t.mapRun(i, logical, 1, block); err != nil {
		return nil, err
	}
	t.addBlocks(i, 1)
	return t.create(block)
}
