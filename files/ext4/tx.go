package ext4

import (
	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/jbd2"
)

// tx is one operation's part of a transaction of the journal. Locks of inodes
// are taken before it begins; groups, the superblock and the orphan list are
// locked within it, each for a moment.
//
// An operation checks all it can before its first change. An error after that
// aborts the journal, since half an operation must not be committed.
type tx struct {
	f        *FS
	h        *jbd2.Handle
	op       *Op
	now      disk.Time
	claimed  int64 // blocks of metadata it may still allocate
	freed    []span
	counted  []counted // for quotas, not settled yet
	promise  *promise  // that what is counted keeps; may be nil
	counts   bool      // the free counts have changed
	changed  bool
	forQuota bool // blocks allocated are a quota file's
	measured bool // the operation itself tells how far it has come
}

// Credits: blocks an operation may change, at most.
const (
	creditsInode  = 4  // an inode, the superblock
	creditsName   = 30 // adding or removing a name with a split of its directory's index
	creditsXattrs = 8  // an inode's attributes, with the allocation of their block
	creditsExtent = 12 // inserting into an extent tree, with an allocation
	claimName     = 8  // blocks of metadata that adding a name may allocate
	claimExtent   = 6  // blocks of metadata that inserting extents may allocate
)

// begin starts a transaction that may change so many blocks and allocate so
// many for metadata, also of those kept for it: see mayTake. Locks of the inodes to be changed are held already.
func (f *FS) begin(op *Op, credits, blocks int) (*tx, error) {
	if err := f.writable(); err != nil {
		return nil, err
	}
	if op.decided() {
		blocks = 0
	}
	if err := f.claim(int64(blocks), 0); err != nil {
		return nil, err
	}
	h, err := f.journal.Start(credits + f.quotaCredits())
	if err != nil {
		f.available.Add(int64(blocks))
		return nil, err
	}
	return &tx{f: f, h: h, op: op, now: op.now(), claimed: int64(blocks)}, nil
}

func (f *FS) writable() error {
	if f.closed.Load() {
		return refuse(KindClosed, "change", 0, "")
	}
	if f.journal != nil {
		if err := f.journal.Err(); err != nil {
			return err
		}
	}
	if f.readOnly.Load() || f.stopped.Load() {
		return refuse(KindReadOnly, "change", 0, "")
	}
	return nil
}

// end ends the transaction. An error of the operation that came after a change
// aborts the journal.
func (t *tx) end(err error) error {
	if err == nil {
		err = t.settleCounts()
	}
	if err != nil && t.changed {
		t.f.journal.Abort(err)
	}
	if err == nil {
		t.record(wholly)
	}
	t.settle()
	if stop := t.h.Stop(); err == nil {
		err = stop
	}
	t.f.available.Add(t.claimed)
	t.claimed = 0
	return err
}

// settle has the blocks freed so far given out again after the commit.
func (t *tx) settle() {
	if len(t.freed) > 0 {
		f, freed := t.f, t.freed
		t.freed = nil
		t.h.OnCommit(func() {
			for _, s := range freed {
				f.unhold(s)
				f.pending.Add(-int64(s.n))
			}
		})
	}
}

// restart ends this part of a long operation, which must be consistent, and
// begins the next.
func (t *tx) restart(credits int) error {
	if err := t.settleCounts(); err != nil {
		return err
	}
	t.settle()
	t.record(partly)
	return t.h.Restart(credits + t.f.quotaCredits())
}

// modify announces a change of a buffer.
func (t *tx) modify(b *buffer.Buffer) error {
	t.changed = true
	if err := t.h.GetWrite(b); err != nil {
		return err
	}
	return t.h.Dirty(b)
}

// create returns the zeroed buffer of a block just allocated.
func (t *tx) create(block uint64) (*buffer.Buffer, error) {
	t.changed = true
	b, err := t.h.Create(block)
	if err != nil {
		return nil, err
	}
	if err := t.h.Dirty(b); err != nil {
		b.Release()
		return nil, err
	}
	return b, nil
}

// writeInode stores i in the inode table. It needs i.mu.
func (t *tx) writeInode(i *inode) error {
	return t.changeSlot(i.ino, func(slot []byte) {
		i.changed = t.h.Sequence()
		if i.orphan.Load() {
			t.f.orphanMu.Lock()
			defer t.f.orphanMu.Unlock()
			i.d.Dtime = i.nextOrphan
		}
		i.d.Encode(slot, t.f.sb, i.ino)
	})
}

// changeSlot changes what the inode table holds of an inode, in its buffer.
func (t *tx) changeSlot(ino uint32, change func(slot []byte)) error {
	b, off, err := t.f.inodeSlot(ino)
	if err != nil {
		return err
	}
	defer b.Release()
	if err := t.modify(b); err != nil {
		return err
	}
	change(b.Data[off : off+int(t.f.sb.InodeSize)])
	return nil
}

// superBuffer returns the block of the superblock and its bytes in it.
func (f *FS) superBuffer() (*buffer.Buffer, []byte, error) {
	b, err := f.cache.Get(disk.SuperblockOffset>>f.shift, 0, nil)
	if err != nil {
		return nil, nil, err
	}
	off := disk.SuperblockOffset & (f.bs - 1)
	return b, b.Data[off : off+disk.SuperblockSize], nil
}

// credits is how many more blocks the operation itself may change.
func (t *tx) credits() int { return t.h.Credits() - t.f.quotaCredits() }

// settleCounts stores all that is counted of the volume.
func (t *tx) settleCounts() error {
	if err := t.settleQuotas(); err != nil || !t.counts && !(t.changed && t.f.noted.Load()) {
		return err
	}
	return t.writeCounts()
}

// writeCounts stores the counts of free blocks and inodes in the superblock, so
// that they agree with the groups in every transaction.
func (t *tx) writeCounts() error {
	t.counts = false
	f := t.f
	return t.writeSuper(func() {
		f.super.FreeBlocks = uint64(f.freeBlocks.Load())
		f.super.FreeInodes = uint32(f.freeInodes.Load())
	})
}

func (t *tx) writeSuper(change func()) error {
	f := t.f
	b, raw, err := f.superBuffer()
	if err != nil {
		return err
	}
	defer b.Release()
	f.superMu.Lock()
	defer f.superMu.Unlock()
	if err := t.modify(b); err != nil {
		return err
	}
	change()
	f.noted.Store(false)
	f.super.Encode(raw)
	return nil
}

// addBlocks accounts for n file-system blocks more, or fewer.
func (t *tx) addBlocks(i *inode, n int64) {
	f := t.f
	t.count(i, n<<f.shift, 0)
	if !i.d.Has(disk.FlagHugeFile) {
		n <<= f.shift - 9
	}
	i.d.Blocks = uint64(int64(i.d.Blocks) + n)
}
