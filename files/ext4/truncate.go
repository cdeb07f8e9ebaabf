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
	if size < 0 {
		return refuse(KindInvalid, "truncate", ino, "")
	}
	if err := f.writable(); err != nil {
		return err
	}
	if err := f.checkWrite(i, false, uint64(size)); err != nil {
		return err
	}
	r, err := f.rightsAtWrite(op, i)
	if err != nil {
		return err
	}
	op.rewind()
	return f.truncate(op, i, uint64(size), r)
}

// truncate needs i.mu. r is what i loses besides.
func (f *FS) truncate(op *Op, i *inode, size uint64, r rights) error {
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
	t, err := f.begin(op, creditsInode+creditsRemove+r.credits(), r.blocks())
	if err != nil {
		return err
	}
	return t.end(func() error {
		if err := t.take(i, &r); err != nil {
			return err
		}
		i.d.Size = size
		i.d.Mtime, i.d.Ctime = t.now, t.now
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
	op.rewind()
	if mode != PunchHole && !keepSize {
		if err := f.zeroTail(op, i, to); err != nil {
			return err
		}
	}
	if mode != Allocate {
		if err := f.punch(op, i, from, to, &r); err != nil {
			return err
		}
	}
	if mode != PunchHole {
		return f.fill(op, i, from, to, keepSize, &r)
	}
	return nil
}

// punch zeroes the edges of a range and frees the blocks inside it.
func (f *FS) punch(op *Op, i *inode, from, to uint64, r *rights) error {
	mask := uint64(f.bs - 1)
	first, last := (from+mask)>>f.shift, to>>f.shift
	if first > last { // within one block
		if err := f.zeroRange(op, i, from, to); err != nil {
			return err
		}
	} else {
		if err := f.zeroRange(op, i, from, first<<f.shift); err != nil {
			return err
		}
		if err := f.zeroRange(op, i, last<<f.shift, to); err != nil {
			return err
		}
	}
	f.dropSpare(i)
	for at := first; ; {
		t, err := f.begin(op, creditsInode+creditsRemove+r.credits(), claimExtent+r.blocks())
		if err != nil {
			return err
		}
		next := last
		err = t.end(func() (err error) {
			if err := t.take(i, r); err != nil {
				return err
			}
			if at < last {
				if next, err = t.removeBlocks(i, uint32(at), last); err != nil {
					return err
				}
			}
			i.d.Mtime, i.d.Ctime = t.now, t.now
			return t.writeInode(i)
		}())
		if err != nil || next >= last {
			return err
		}
		at = next
	}
}

// fill allocates unwritten blocks in the holes of a range.
func (f *FS) fill(op *Op, i *inode, from, to uint64, keepSize bool, r *rights) error {
	last := (to - 1) >> f.shift
	for at := from >> f.shift; at <= last; {
		m, err := f.mapBlock(i, uint32(at))
		if err != nil {
			return err
		}
		n := uint32(min(uint64(m.Len), last+1-at))
		if m.hole() {
			n = min(n, disk.UnwrittenLenMax)
			if n, err = f.fillHole(op, i, uint32(at), n, to, keepSize); err != nil {
				return err
			}
		}
		at += uint64(n)
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
	return t.end(func() error {
		if err := t.take(i, r); err != nil {
			return err
		}
		return t.writeInode(i)
	}())
}

// fillHole allocates at most n blocks at logical in one transaction.
func (f *FS) fillHole(op *Op, i *inode, logical, n uint32, to uint64, keepSize bool) (uint32, error) {
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
				t.addBlocks(i, int64(s.n))
				if err := t.insertExtent(i, disk.Extent{Logical: logical + done, Len: s.n, Physical: s.block, Unwritten: true}); err != nil {
					return err
				}
				done += s.n
			}
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
