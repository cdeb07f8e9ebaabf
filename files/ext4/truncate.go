package ext4

import (
	"math"

	"github.com/quintet-os/quintet/files/ext4/disk"
)

// Truncate sets the size of a regular file. What is cut off is gone; what is
// added reads as zeros.
func (f *FS) Truncate(op *Op, ino uint32, size int64) error {
	i, unlock, err := f.lockOne(ino)
	if err != nil {
		return err
	}
	defer unlock()
	if err := op.rewind(f); err != nil {
		return err
	}
	r, err := f.checkTruncate(op, i, size)
	if err != nil {
		return err
	}
	return f.truncate(op, i, uint64(size), r.credits(), r.blocks(), func(t *tx) error { return t.take(i, &r) })
}

// checkTruncate refuses what must not be done, and tells what rights i loses with it.
func (f *FS) checkTruncate(op *Op, i *inode, size int64) (rights, error) {
	if size < 0 {
		return rights{}, refuse(KindInvalid, "truncate", i.ino, "")
	}
	if err := f.writable(); err != nil {
		return rights{}, err
	}
	if err := f.checkWrite(i, false, uint64(size)); err != nil {
		return rights{}, err
	}
	return f.rightsAtWrite(op, i)
}

// truncate needs i.mu. What else is to change of i, at the price of so many credits and
// blocks, changes in the first part.
func (f *FS) truncate(op *Op, i *inode, size uint64, credits, blocks int, also func(*tx) error) error {
	f.dropSpare(i)
	old := i.d.Size
	if size > old {
		if err := f.zeroTail(op, i, size); err != nil {
			return err
		}
	} else if in := size & uint64(f.bs-1); size < old && in != 0 {
		if err := f.zeroRange(op, i, size, min(old, size-in+uint64(f.bs))); err != nil {
			return err
		}
	}
	t, err := f.begin(op, creditsInode+creditsRemove+credits, blocks)
	if err != nil {
		return err
	}
	return t.end(func() error {
		if op.from() == 0 {
			i.d.Size = size
			i.d.Mtime, i.d.Ctime = t.now, t.now
			if err := also(t); err != nil {
				return err
			}
		}
		// Blocks beyond the end may be left by fallocate even if the size grows.
		if size <= old {
			if err := t.truncateBlocks(i, uint32((size+uint64(f.bs)-1)>>f.shift)); err != nil {
				return err
			}
		}
		if i.d.Links > 0 {
			if err := t.removeOrphan(i); err != nil {
				return err
			}
		}
		return t.writeInode(i)
	}())
}

// FallocateMode says what Fallocate does to a range.
type FallocateMode uint8

// Modes of Fallocate.
const (
	Allocate  FallocateMode = iota // allocate blocks that read as zeros until written
	PunchHole                      // free blocks; the range reads as zeros; the size stays
	ZeroRange                      // the range reads as zeros and is allocated
)

// Fallocate changes how a range of a regular file is allocated. keepSize leaves
// the size as it is even if the range ends beyond it; PunchHole implies it, and
// is all that files without extents can do: others fail with KindNotSupported.
func (f *FS) Fallocate(op *Op, ino uint32, mode FallocateMode, keepSize bool, off, length int64) error {
	if off < 0 || length <= 0 || off > math.MaxInt64-length {
		return refuse(KindInvalid, "fallocate", ino, "")
	}
	if err := f.writable(); err != nil {
		return err
	}
	i, unlock, err := f.lockOne(ino)
	if err != nil {
		return err
	}
	defer unlock()
	from, to := uint64(off), uint64(off)+uint64(length)
	if err := op.rewind(f); err != nil {
		return err
	}
	if err := f.checkWrite(i, mode == Allocate, to); err != nil {
		return err
	}
	if mode != PunchHole && !i.d.Has(disk.FlagExtents) {
		return refuse(KindNotSupported, "fallocate: file without extents", ino, "")
	}
	r, err := f.rightsAtWrite(op, i)
	if err != nil {
		return err
	}
	if mode != PunchHole && !keepSize {
		if err := f.zeroTail(op, i, to); err != nil {
			return err
		}
	}
	punched := uint64(0)
	if mode != Allocate {
		if punched, err = f.punch(op, i, from, to, &r); err != nil {
			return err
		}
	}
	if mode != PunchHole {
		return f.fill(op, i, from, to, keepSize, punched, &r)
	}
	return nil
}

// fellShort is why a replay of fallocate goes no further.
func fellShort(i *inode) error { return refuse(KindNoSpace, "fallocate", i.ino, "") }

// punch zeroes the edges of a range and frees the blocks inside it. It returns how far the
// operation has come then: by a block for each of the range, and one.
func (f *FS) punch(op *Op, i *inode, from, to uint64, r *rights) (uint64, error) {
	mask := uint64(f.bs - 1)
	first, last := (from+mask)>>f.shift, to>>f.shift
	if first > last { // within one block
		if err := f.zeroRange(op, i, from, to); err != nil {
			return 0, err
		}
		last = first
	} else {
		if err := f.zeroRange(op, i, from, first<<f.shift); err != nil {
			return 0, err
		}
		if err := f.zeroRange(op, i, last<<f.shift, to); err != nil {
			return 0, err
		}
	}
	f.dropSpare(i)
	whole := last - first + 1
	for done := op.from(); done < whole; {
		if done >= op.until() {
			return 0, fellShort(i)
		}
		t, err := f.begin(op, creditsInode+creditsRemove+r.credits(), claimExtent+r.blocks())
		if err != nil {
			return 0, err
		}
		err = t.end(func() error {
			if err := t.take(i, r); err != nil {
				return err
			}
			next, end := first+done, min(last, first+op.until())
			if next < end {
				var err error
				if next, err = t.removeBlocks(i, uint32(next), end); err != nil {
					return err
				}
			}
			if done = min(next, last) - first; done == last-first {
				done = whole
			}
			t.came(done)
			i.d.Mtime, i.d.Ctime = t.now, t.now
			return t.writeInode(i)
		}())
		if err != nil {
			return 0, err
		}
	}
	return whole, nil
}

// fill allocates unwritten blocks in the holes of a range. Before it, the operation had
// come as far as punched.
func (f *FS) fill(op *Op, i *inode, from, to uint64, keepSize bool, punched uint64, r *rights) error {
	first, end := from>>f.shift, (to-1)>>f.shift+1
	whole := punched + end - first + 1
	for done := max(punched, op.from()); done < whole-1; {
		if done >= op.until() {
			return fellShort(i)
		}
		at := first + done - punched
		m, err := f.mapBlock(i, uint32(at))
		if err != nil {
			return err
		}
		n := uint32(min(uint64(m.Len), end-at))
		if m.hole() {
			n = min(n, disk.UnwrittenLenMax)
			if n, err = f.fillHole(op, i, uint32(at), n, done); err != nil {
				return err
			}
		}
		done += uint64(n)
	}
	switch {
	case op.from() >= whole: // a replay with nothing left to do
		return nil
	case op.until() < whole:
		return fellShort(i)
	}
	t, err := f.begin(op, creditsInode+r.credits(), r.blocks())
	if err != nil {
		return err
	}
	if !keepSize && to > i.d.Size {
		i.d.Size = to
		i.d.Mtime = t.now
	}
	i.d.Ctime = t.now
	t.came(whole)
	return t.end(func() error {
		if err := t.take(i, r); err != nil {
			return err
		}
		return t.writeInode(i)
	}())
}

// fillHole allocates at most n blocks at logical. The operation had come as far as before.
func (f *FS) fillHole(op *Op, i *inode, logical, n uint32, before uint64) (uint32, error) {
	goal, err := f.dataGoal(i, logical)
	if err != nil {
		return 0, err
	}
	f.dropSpare(i)
	promise, err := f.promise(op, f.owners(i), usage{space: int64(n) << f.shift})
	if err != nil {
		return 0, err
	}
	defer promise.release()
	runs, err := f.holdData(op, i, goal, logical, n)
	giveBack := func(list []span) {
		for _, s := range list {
			f.unhold(s)
		}
		op.gaveBack()
	}
	if err != nil {
		giveBack(runs)
		return 0, err
	}
	done := uint32(0)
	for len(runs) > 0 {
		batch := runs[:min(len(runs), piecesPerTransaction)]
		t, err := f.begin(op, creditsInode+creditsExtent*len(batch), claimExtent*len(batch))
		if err != nil {
			giveBack(runs)
			return 0, err
		}
		t.promise = promise
		err = t.end(func() error {
			for _, s := range batch {
				if err := t.use(s); err != nil {
					return err
				}
				op.took()
				t.addBlocks(i, int64(s.n))
				if err := t.insertExtent(i, disk.Extent{Logical: logical + done, Len: s.n, Physical: s.block, Unwritten: true}); err != nil {
					return err
				}
				done += s.n
			}
			t.came(before + uint64(done))
			i.d.Ctime = t.now
			return t.writeInode(i)
		}())
		runs = runs[len(batch):]
		if err != nil {
			giveBack(runs)
			return 0, err
		}
	}
	return done, nil
}
