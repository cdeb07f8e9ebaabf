package ext4

import (
	"github.com/quintet-os/quintet/files/ext4/disk"
)

// splitsMax bounds how often one insertion may split: once a level and once
// more to grow.
const splitsMax = disk.ExtentsDepth + 2

// insertExtent adds x to the tree of i, where there is a hole, merging it with
// its neighbours if they are adjacent on the volume too. The caller writes the
// inode.
func (t *tx) insertExtent(i *inode, x disk.Extent) error {
	for range splitsMax {
		var p extentPath
		if err := t.f.findExtent(i, x.Logical, &p); err != nil {
			return err
		}
		done, err := t.insertAt(i, &p, x)
		if err == nil && !done {
			err = t.makeRoom(i, &p, x.Logical)
		}
		p.release()
		if err != nil || done {
			return err
		}
	}
	return &disk.CorruptError{Structure: "extent tree", Ino: i.ino, Detail: "splitting does not make room"}
}

// adjoin returns a and b as one extent, if they are one.
func adjoin(a, b disk.Extent) (disk.Extent, bool) {
	limit := uint32(disk.ExtentLenMax)
	if a.Unwritten {
		limit = disk.UnwrittenLenMax
	}
	if a.Unwritten != b.Unwritten || a.End() != uint64(b.Logical) || a.Physical+uint64(a.Len) != b.Physical || a.Len+b.Len > limit {
		return a, false
	}
	a.Len += b.Len
	return a, true
}

// insertAt puts x into the leaf of p, or reports that it is full.
func (t *tx) insertAt(i *inode, p *extentPath, x disk.Extent) (bool, error) {
	l := p.leaf()
	at, level := l.at, p.n-1
	if at >= 0 && l.node.Extent(at).End() > uint64(x.Logical) || at+1 < l.node.Entries() && uint64(l.node.First(at+1)) < x.End() {
		return false, &disk.CorruptError{Structure: "extent tree", Ino: i.ino, Detail: "blocks to be mapped are mapped"}
	}
	if at >= 0 {
		if y, ok := adjoin(l.node.Extent(at), x); ok {
			if err := t.changeNode(p, level); err != nil {
				return false, err
			}
			if at+1 < l.node.Entries() {
				if z, ok := adjoin(y, l.node.Extent(at+1)); ok {
					y = z
					l.node.Remove(at+1, 1)
				}
			}
			l.node.SetExtent(at, y)
			t.sealNode(i, p, level)
			return true, nil
		}
	}
	if at+1 < l.node.Entries() {
		if y, ok := adjoin(x, l.node.Extent(at+1)); ok {
			if err := t.changeNode(p, level); err != nil {
				return false, err
			}
			l.node.SetExtent(at+1, y)
			t.sealNode(i, p, level)
			return true, t.rekey(i, p, level)
		}
	}
	if l.node.Entries() == l.node.Max() {
		return false, nil
	}
	if err := t.changeNode(p, level); err != nil {
		return false, err
	}
	l.node.Insert(at + 1)
	l.node.SetExtent(at+1, x)
	t.sealNode(i, p, level)
	return true, t.rekey(i, p, level)
}

// nextExtent fills p with the path to the first extent that ends after from,
// its index in the leaf being leaf().at. It returns false when there is none.
func (f *FS) nextExtent(i *inode, from uint32, p *extentPath) (disk.Extent, bool, error) {
	for range 2 {
		if err := f.findExtent(i, from, p); err != nil {
			return disk.Extent{}, false, err
		}
		l := p.leaf()
		if l.at < 0 || l.node.Extent(l.at).End() <= uint64(from) {
			l.at++
		}
		if l.at < l.node.Entries() {
			return l.node.Extent(l.at), true, nil
		}
		next, ok := p.following()
		p.release()
		if !ok {
			return disk.Extent{}, false, nil
		}
		from = next
	}
	return disk.Extent{}, false, &disk.CorruptError{Structure: "extent tree", Ino: i.ino, Detail: "a leaf is empty"}
}

// creditsCut is what cutting one extent may take beside its blocks' groups.
const creditsCut = 2*disk.ExtentsDepth + creditsInode + 4

// removeExtents unmaps and frees blocks from up to (not including) to. It stops
// early, returning where to go on, when the transaction's credits run short;
// the tree is consistent then, and the caller writes the inode and restarts.
func (t *tx) removeExtents(i *inode, from uint32, to uint64) (next uint64, err error) {
	at := uint64(from)
	for at < to {
		if t.credits() < creditsCut && t.changed {
			return at, nil
		}
		var p extentPath
		x, ok, err := t.f.nextExtent(i, uint32(at), &p)
		if err != nil {
			return at, err
		}
		if !ok {
			return to, nil
		}
		if uint64(x.Logical) >= to {
			p.release()
			return to, nil
		}
		lo, hi := max(at, uint64(x.Logical)), min(to, x.End())
		var right disk.Extent
		if lo > uint64(x.Logical) && hi < x.End() {
			right = tail(x, hi)
		}
		err = t.cut(i, &p, x, lo, hi)
		p.release()
		if err != nil {
			return at, err
		}
		if right.Len > 0 {
			if err := t.insertExtent(i, right); err != nil {
				return at, err
			}
		}
		n := uint32(hi - lo)
		if err := t.free(x.Physical+lo-uint64(x.Logical), n, i.d.IsDir() || i.d.IsSymlink()); err != nil {
			return at, err
		}
		t.addBlocks(i, -int64(n))
		at = hi
	}
	return to, nil
}

// tail is the part of x from logical block from on.
func tail(x disk.Extent, from uint64) disk.Extent {
	skip := uint32(from - uint64(x.Logical))
	return disk.Extent{Logical: uint32(from), Len: x.Len - skip, Physical: x.Physical + uint64(skip), Unwritten: x.Unwritten}
}

// cut takes blocks lo to hi out of extent x, which p leads to. When they lie
// inside x, what is behind them goes too, for the caller to insert again.
func (t *tx) cut(i *inode, p *extentPath, x disk.Extent, lo, hi uint64) error {
	l := p.leaf()
	level := p.n - 1
	if lo == uint64(x.Logical) && hi == x.End() {
		return t.removeEntry(i, p)
	}
	if err := t.changeNode(p, level); err != nil {
		return err
	}
	if lo > uint64(x.Logical) {
		x.Len = uint32(lo - uint64(x.Logical))
		l.node.SetExtent(l.at, x)
		t.sealNode(i, p, level)
		return nil
	}
	l.node.SetExtent(l.at, tail(x, hi))
	t.sealNode(i, p, level)
	if l.at == 0 {
		return t.rekey(i, p, level)
	}
	return nil
}

// removeEntry deletes the entry p leads to, and nodes that become empty.
func (t *tx) removeEntry(i *inode, p *extentPath) error {
	for level := p.n - 1; ; level-- {
		l := &p.levels[level]
		if err := t.changeNode(p, level); err != nil {
			return err
		}
		l.node.Remove(l.at, 1)
		if l.node.Entries() > 0 {
			t.sealNode(i, p, level)
			if l.at == 0 {
				if err := t.rekey(i, p, level); err != nil {
					return err
				}
			}
			return t.flatten(i)
		}
		if level == 0 {
			disk.InitExtentNode(i.d.Block[:], 0, true)
			return nil
		}
		if err := t.free(l.buf.Block(), 1, true); err != nil {
			return err
		}
		t.addBlocks(i, -1)
	}
}

// flatten brings the entries of an only child into the root when they fit.
func (t *tx) flatten(i *inode) error {
	root := disk.ExtentNode(i.d.Block[:])
	for root.Depth() > 0 && root.Entries() == 1 {
		b, err := t.f.extentNode(i, root.Child(0), root.Depth()-1)
		if err != nil {
			return err
		}
		child := disk.ExtentNode(b.Data)
		depth, n := child.Depth(), child.Entries()
		if n > disk.InodeExtentsMax || n == 0 {
			b.Release()
			return nil
		}
		root = disk.InitExtentNode(i.d.Block[:], depth, true)
		for k := range n {
			root.Insert(k)
			if depth > 0 {
				root.SetChild(k, child.First(k), child.Child(k))
			} else {
				root.SetExtent(k, child.Extent(k))
			}
		}
		block := b.Block()
		b.Release()
		if err := t.free(block, 1, true); err != nil {
			return err
		}
		t.addBlocks(i, -1)
	}
	return nil
}

// setWritten marks blocks from up to to as written, where they are unwritten.
// Splitting an extent may take claimed blocks.
func (t *tx) setWritten(i *inode, from uint32, to uint64) error {
	for at := uint64(from); at < to; {
		var p extentPath
		x, ok, err := t.f.nextExtent(i, uint32(at), &p)
		if err != nil || !ok {
			return err
		}
		lo, hi := max(at, uint64(x.Logical)), min(to, x.End())
		at = x.End()
		if uint64(x.Logical) >= to || !x.Unwritten {
			p.release()
			continue
		}
		if err := t.removeForChange(i, &p); err != nil {
			p.release()
			return err
		}
		p.release()
		pieces := []disk.Extent{x, tail(x, lo), tail(x, hi)}
		pieces[0].Len = uint32(lo - uint64(x.Logical))
		pieces[1].Len = uint32(hi - lo)
		pieces[1].Unwritten = false
		for _, y := range pieces {
			if y.Len > 0 {
				if err := t.insertExtent(i, y); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// removeForChange deletes the entry p leads to, keeping a leaf that becomes
// empty, since what replaces the entry is inserted next.
func (t *tx) removeForChange(i *inode, p *extentPath) error {
	l := p.leaf()
	if err := t.changeNode(p, p.n-1); err != nil {
		return err
	}
	l.node.Remove(l.at, 1)
	if l.node.Entries() > 0 && l.at == 0 {
		if err := t.rekey(i, p, p.n-1); err != nil {
			return err
		}
	}
	t.sealNode(i, p, p.n-1)
	return nil
}
