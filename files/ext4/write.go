package ext4

import (
	"math"
	"time"

	"github.com/quintet-os/quintet/files/ext4/disk"
)

const (
	// timeGranularity is the least step of a file's modification time that a
	// mere overwrite records, as with the kernel's coarse clock.
	timeGranularity = 4 * time.Millisecond
	// piecesPerTransaction bounds the extents one transaction of a write inserts.
	piecesPerTransaction = 8
	// spareBlocksMax bounds the blocks held for a file that is appended to.
	spareBlocksMax = 512
)

// piece is a run of blocks a write goes to.
type piece struct {
	mapping
	fresh bool // held by this write, not yet part of the file
}

// Write is a write in preparation: its blocks are chosen, and the inode is
// locked until Commit or Abort. In between the data is put in place.
type Write struct {
	f        *FS
	i        *inode
	op       *Op
	off, end uint64 // bytes
	pieces   []piece
	rights   rights // that the file loses
	promise  *promise
	written  uint64 // bytes whose blocks are part of the file
	short    bool   // a replay of one that did not fit
	unlock   func()
}

// WriteAt writes p at off of regular file ino. Nothing refers to new blocks
// before their data is in place, so after power loss a file never shows what
// its blocks held before.
//
// Errors come with how much of p, from its start, is written and part of the file.
// KindNoSpace when not all of p fits: 0 if there is no room for the data, fewer than all
// if there was none for what leads to it; blocks that the file had may hold more of p.
// After errors of the volume any part of the range may have changed.
func (f *FS) WriteAt(op *Op, ino uint32, p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	w, err := f.PrepareWrite(op, ino, off, int64(len(p)))
	if err != nil {
		return 0, err
	}
	if !op.replaying() {
		if err := w.fill(p); err != nil {
			w.Abort()
			return 0, err
		}
	}
	if err := w.Commit(); err != nil {
		return w.Written(), err
	}
	return len(p), nil
}

// PrepareWrite chooses blocks for length bytes at off. Pieces of blocks at the
// edges that are not part of the file yet must be zero where the write does not
// cover them; Segments tells where everything goes.
func (f *FS) PrepareWrite(op *Op, ino uint32, off, length int64) (*Write, error) {
	if off < 0 || length <= 0 || off > math.MaxInt64-length {
		return nil, refuse(KindInvalid, "write", ino, "")
	}
	if err := f.writable(); err != nil {
		return nil, err
	}
	i, unlock, err := f.lockOne(ino)
	if err != nil {
		return nil, err
	}
	w := &Write{f: f, i: i, op: op, off: uint64(off), end: uint64(off) + uint64(length), unlock: unlock}
	if err := op.rewind(f); err != nil {
		unlock()
		return nil, err
	}
	w.written, w.short = op.from(), op.until() < uint64(length)
	if err := f.checkWrite(i, w.off+w.written >= i.d.Size, w.end); err != nil {
		unlock()
		return nil, err
	}
	if w.short {
		w.end = w.off + op.until()
	}
	if w.rights, err = f.rightsAtWrite(op, i); err != nil {
		unlock()
		return nil, err
	}
	if w.promise, err = f.promise(op, f.owners(i), usage{}); err != nil {
		unlock()
		return nil, err
	}
	if err := w.plan(); err != nil {
		w.Abort()
		return nil, err
	}
	return w, nil
}

// lockOne locks an inode for writing.
func (f *FS) lockOne(ino uint32) (*inode, func(), error) {
	i, err := f.inode(ino)
	if err != nil {
		return nil, nil, err
	}
	unlock, err := f.lock(i)
	if err != nil {
		f.put(i)
		return nil, nil, err
	}
	return i, func() { unlock(); f.put(i) }, nil
}

// checkWrite refuses to change the content of i up to end; appends says that
// nothing of what it holds is changed.
func (f *FS) checkWrite(i *inode, appends bool, end uint64) error {
	switch {
	case i.d.IsDir():
		return refuse(KindIsDir, "write", i.ino, "")
	case !i.d.IsRegular() || i.d.Has(disk.FlagInlineData):
		return refuse(KindInvalid, "write", i.ino, "")
	case i.d.Flags&(disk.FlagImmutable|disk.FlagVerity) != 0, i.d.Has(disk.FlagAppend) && !appends:
		return refuse(KindPermission, "write", i.ino, "")
	case end > f.maxSize(i):
		return refuse(KindTooBig, "write", i.ino, "")
	}
	return nil
}

// plan maps the range and holds blocks for its holes.
func (w *Write) plan() error {
	f, i := w.f, w.i
	if err := f.zeroTail(w.op, i, w.off); err != nil {
		return err
	}
	from := w.off + w.written
	last := (w.end - 1) >> f.shift
	goal := uint64(0)
	for at := from >> f.shift; from < w.end && at <= last; {
		m, err := f.mapBlock(i, uint32(at))
		if err != nil {
			return err
		}
		m.Len = uint32(min(uint64(m.Len), last+1-at))
		if !m.hole() {
			w.pieces = append(w.pieces, piece{mapping: m})
			goal = m.Physical + uint64(m.Len)
			at += uint64(m.Len)
			continue
		}
		if err := f.canMap(i, "write"); err != nil {
			return err
		}
		m.Len = min(m.Len, f.runMax(i, m.Logical))
		if goal == 0 {
			if goal, err = f.dataGoal(i, uint32(at)); err != nil {
				return err
			}
		}
		if err := w.promise.more(w.op, usage{space: int64(m.Len) << f.shift}); err != nil {
			return err
		}
		runs, err := f.holdData(w.op, i, goal, uint32(at), m.Len)
		for _, s := range runs {
			w.pieces = append(w.pieces, piece{mapping{Logical: uint32(at), Len: s.n, Physical: s.block}, true})
			at += uint64(s.n)
			goal = s.block + uint64(s.n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// dataGoal is where data at a logical block is best placed: behind the block
// before it, or else in the group of the inode.
func (f *FS) dataGoal(i *inode, logical uint32) (uint64, error) {
	if logical > 0 && !i.d.Has(disk.FlagExtents) {
		m, err := f.mapIndirect(i, logical-1)
		if err != nil || !m.hole() {
			return m.Physical + 1, err
		}
	} else if logical > 0 {
		var p extentPath
		if err := f.findExtent(i, logical-1, &p); err != nil {
			return 0, err
		}
		defer p.release()
		if l := p.leaf(); l.at >= 0 {
			x := l.node.Extent(l.at)
			return x.Physical + uint64(logical-x.Logical), nil
		}
	}
	return f.extentGoal(i), nil
}

// holdData holds n blocks for data at logical; a replay may get fewer at a time. A file being appended to gets
// more than it asked for held behind them, which its next append uses. On an
// error the runs held so far are returned too.
func (f *FS) holdData(op *Op, i *inode, goal uint64, logical, n uint32) (runs []span, err error) {
	d := op.Decision
	if op.replaying() { // Expect holds them
		for ; d.next < len(d.Blocks) && d.Blocks[d.next].Count <= n; d.next++ {
			s := span{d.Blocks[d.next].Block, d.Blocks[d.next].Count}
			runs = append(runs, s)
			n -= s.n
		}
		if len(runs) > 0 {
			return runs, nil
		}
		if d.next < len(d.Blocks) || !d.resumed {
			return nil, refuse(KindInvalid, "replay: blocks recorded do not fit", i.ino, "")
		}
	}
	if i.spare.n > 0 {
		if i.spare.block == goal {
			take := min(n, i.spare.n)
			runs = append(runs, span{goal, take})
			i.spare.block += uint64(take)
			i.spare.n -= take
			n -= take
			goal += uint64(take)
		} else {
			f.dropSpare(i)
		}
	}
	if n > 0 {
		if err := f.claim(int64(n), f.floor(op)); err != nil {
			return runs, err
		}
		for n > 0 {
			s, err := f.reserve(goal, min(n, disk.ExtentLenMax))
			if err != nil {
				f.available.Add(int64(n))
				return runs, err
			}
			runs = append(runs, s)
			n -= s.n
			goal = s.block + uint64(s.n)
		}
		f.holdSpare(i, goal, logical)
	}
	if d != nil {
		for _, s := range runs {
			d.Blocks = append(d.Blocks, Run{s.block, s.n})
			d.next++
		}
	}
	return runs, nil
}

// holdSpare holds blocks behind those just held, if the file is growing: as
// many as it has, within bounds. It is a hint and may do nothing.
func (f *FS) holdSpare(i *inode, goal uint64, logical uint32) {
	want := min(logical, spareBlocksMax)
	if want == 0 || uint64(logical)<<f.shift < i.d.Size || goal >= f.sb.BlocksCount {
		return
	}
	if a := f.available.Load(); a < int64(f.sb.ReservedBlocks)+f.hidden+int64(want)*64 || !f.available.CompareAndSwap(a, a-int64(want)) {
		return
	}
	n, index := f.sb.GroupOf(goal)
	g, err := f.groups.get(n)
	if err == nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		if !f.uninit(g, disk.GroupBlockUninit) && g.d.FreeBlocks > g.heldCount {
			if b, err := f.blockBitmap(g); err == nil {
				end := int(min(f.sb.GroupBlocks(n), index+want))
				got := uint32(nextSet(b.Data, g.held, int(index), end) - int(index))
				b.Release()
				if got > 0 {
					f.hold(g, int(index), int(got))
					i.spare = span{goal, got}
					want -= got
				}
			}
		}
	}
	f.available.Add(int64(want))
}

// dropSpare gives up what is held for appending to i. It needs i.mu.
func (f *FS) dropSpare(i *inode) {
	if i.spare.n > 0 {
		f.unhold(i.spare)
		i.spare = span{}
	}
}

// dropSpares gives up what is held for any file that is not being written.
func (f *FS) dropSpares() {
	for k := range f.inodes.shards {
		s := &f.inodes.shards[k]
		var spares []span
		s.mu.Lock()
		for _, i := range s.table {
			if i.mu.TryLock() {
				if i.spare.n > 0 {
					spares = append(spares, i.spare)
					i.spare = span{}
				}
				i.mu.Unlock()
			}
		}
		s.mu.Unlock()
		for _, p := range spares { // a group's lock comes before a shard's
			f.unhold(p)
		}
	}
}
