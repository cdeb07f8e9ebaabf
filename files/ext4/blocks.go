package ext4

import (
	"math/bits"

	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/disk"
)

// span is a run of blocks within one group.
type span struct {
	block uint64
	n     uint32
}

// Counting. available = free blocks - held blocks - claims. Whoever allocates
// claims first, without a transaction, so that within one it cannot fail:
// there is a free block in some group for every block claimed.

//
// Of the last blocks there are some for the superuser, and some, as in Linux, only for
// metadata that an operation on what there is already may need: converting extents,
// punching holes.

// hiddenMax bounds the latter.
const hiddenMax = 4096

// hiddenReserve is how many blocks are for such metadata only.
func hiddenReserve(sb *disk.Superblock) int64 {
	if !sb.Has(0, disk.IncompatExtents, 0) {
		return 0
	}
	return int64(min(sb.BlocksCount/50, hiddenMax))
}

// floor is how many blocks op must leave when it takes more for its user.
func (f *FS) floor(op *Op) int64 {
	if op.Privileged {
		return f.hidden
	}
	return f.hidden + int64(f.sb.ReservedBlocks)
}

// mayTake asks whether op may take n blocks for its user.
func (f *FS) mayTake(op *Op, n int64) error {
	if op.replaying() {
		return nil
	}
	err := f.claim(n, f.floor(op))
	if err == nil {
		f.available.Add(n)
	}
	return err
}

// claim takes n blocks from what is available, unless fewer than floor were left. When
// there are too few it first gives up what is held for appending, then commits what was
// freed. It is not called within a transaction.
func (f *FS) claim(n, floor int64) error {
	if n == 0 {
		return nil
	}
	for attempt := 0; ; attempt++ {
		for {
			a := f.available.Load()
			if a-n < floor {
				break
			}
			if f.available.CompareAndSwap(a, a-n) {
				return nil
			}
		}
		switch {
		case attempt == 0:
			f.dropSpares()
		case attempt == 1 && f.pending.Load() > 0:
			if err := f.journal.CommitRunning(); err != nil {
				return err
			}
		default:
			return refuse(KindNoSpace, "allocate", 0, "")
		}
	}
}

// blockBitmap returns group g's bitmap, which must be initialised. g.mu is held.
func (f *FS) blockBitmap(g *group) (*buffer.Buffer, error) {
	return f.cache.Get(g.d.BlockBitmap, keyBlockBitmap<<60|uint64(g.n), bitmapVerifier{f, g, true})
}

type bitmapVerifier struct {
	f      *FS
	g      *group
	blocks bool
}

func (v bitmapVerifier) Verify(block uint64, data []byte) error {
	sb := v.f.sb
	name, want, got := "inode bitmap", v.g.d.InodeBitmapCsum, uint32(0)
	if v.blocks {
		name, want, got = "block bitmap", v.g.d.BlockBitmapCsum, sb.BlockBitmapChecksum(data)
	} else {
		got = sb.InodeBitmapChecksum(data)
	}
	if sb.MetadataCsum() && got != want {
		return disk.At(disk.Corrupt(name, "group %d: checksum %#08x, computed %#08x", v.g.n, want, got), 0, block)
	}
	if v.blocks && v.f.groupMetadata(v.g, data) {
		return disk.At(disk.Corrupt(name, "group %d: metadata is marked free", v.g.n), 0, block)
	}
	return nil
}

// groupMetadata reports whether the bitmap says that the group's own metadata,
// as far as it lies in the group, is free.
func (f *FS) groupMetadata(g *group, bitmap []byte) bool {
	for _, s := range []span{{g.d.BlockBitmap, 1}, {g.d.InodeBitmap, 1}, {g.d.InodeTable, f.sb.InodeTableBlocks()}} {
		for b := s.block; b < s.block+uint64(s.n); b++ {
			if n, i := f.sb.GroupOf(b); n == g.n && bitmap[i>>3]&(1<<(i&7)) == 0 {
				return true
			}
		}
	}
	return false
}

// initBitmap writes the block bitmap of a group that has none yet.
func (f *FS) initBitmap(g *group, p []byte) {
	clear(p)
	setBits(p, 0, int(f.sb.GroupOverhead(g.n)))
	for _, s := range []span{{g.d.BlockBitmap, 1}, {g.d.InodeBitmap, 1}, {g.d.InodeTable, f.sb.InodeTableBlocks()}} {
		for b := s.block; b < s.block+uint64(s.n); b++ {
			if n, i := f.sb.GroupOf(b); n == g.n {
				p[i>>3] |= 1 << (i & 7)
			}
		}
	}
	setBits(p, int(f.sb.GroupBlocks(g.n)), 8*f.bs)
}

// nextClear returns the first block from i on that neither bitmap marks, or end.
func nextClear(a, b []byte, i, end int) int {
	for i < end {
		w := le.Uint64(a[i>>6<<3:])
		if b != nil {
			w |= le.Uint64(b[i>>6<<3:])
		}
		if w = ^w >> (i & 63); w != 0 {
			return min(end, i+bits.TrailingZeros64(w))
		}
		i = (i | 63) + 1
	}
	return end
}

// nextSet returns the first block from i on that either bitmap marks, or end.
func nextSet(a, b []byte, i, end int) int {
	for i < end {
		w := le.Uint64(a[i>>6<<3:])
		if b != nil {
			w |= le.Uint64(b[i>>6<<3:])
		}
		if w >>= i & 63; w != 0 {
			return min(end, i+bits.TrailingZeros64(w))
		}
		i = (i | 63) + 1
	}
	return end
}

// findRun looks for want free blocks in a row from goal on, then from the
// start; failing that it returns the longest run it has seen.
func findRun(a, b []byte, goal, end, want int) (at, n int) {
	for _, part := range [2][2]int{{goal, end}, {0, goal}} {
		for i := part[0]; i < part[1]; {
			i = nextClear(a, b, i, part[1])
			if i >= part[1] {
				break
			}
			stop := nextSet(a, b, i, min(end, i+want))
			if stop-i > n {
				at, n = i, stop-i
			}
			if n >= want {
				return at, n
			}
			i = stop
		}
	}
	return at, n
}

// reserve holds up to want blocks in a row near goal, which the caller has
// claimed. It returns at least one block: of the goal's group, if that has a
// piece of a quarter of what is wanted, or of the nearest group that has.
func (f *FS) reserve(goal uint64, want uint32) (span, error) {
	if goal < uint64(f.sb.FirstDataBlock) || goal >= f.sb.BlocksCount {
		goal = uint64(f.sb.FirstDataBlock)
	}
	first, index := f.sb.GroupOf(goal)
	groups := uint32(f.sb.Groups())
	for _, least := range []uint32{(want + 3) / 4, 1} {
		for k := range groups {
			n := first + k
			if n >= groups {
				n -= groups
			}
			s, err := f.reserveIn(n, int(index), want, least)
			if err != nil || s.n > 0 {
				return s, err
			}
			if k == 0 {
				index = 0
			}
		}
	}
	return span{}, disk.Corrupt("block group", "the groups have fewer free blocks than counted")
}

func (f *FS) reserveIn(n uint32, index int, want, least uint32) (span, error) {
	g, err := f.groups.get(n)
	if err != nil {
		return span{}, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.d.FreeBlocks < g.heldCount+least {
		return span{}, nil
	}
	var bitmap []byte
	if f.uninit(g, disk.GroupBlockUninit) {
		p := bouncePool.Get().(*[]byte)
		defer bouncePool.Put(p)
		bitmap = (*p)[:f.bs]
		f.initBitmap(g, bitmap)
	} else {
		b, err := f.blockBitmap(g)
		if err != nil {
			return span{}, err
		}
		defer b.Release()
		bitmap = b.Data
	}
	at, got := findRun(bitmap, g.held, index, int(f.sb.GroupBlocks(n)), int(want))
	if uint32(got) < least {
		return span{}, nil
	}
	s := span{f.sb.GroupStart(n) + uint64(at), uint32(got)}
	f.hold(g, at, got)
	return s, nil
}

// uninit reports an uninitialised bitmap; the flags mean nothing without
// checksums of descriptors.
func (f *FS) uninit(g *group, flag uint16) bool {
	return g.d.Flags&flag != 0 && f.sb.FeatureROCompat&(disk.ROCompatGdtCsum|disk.ROCompatMetadataCsum) != 0
}

func (f *FS) hold(g *group, at, n int) {
	if g.held == nil {
		g.held = make([]byte, f.bs)
	}
	setBits(g.held, at, at+n)
	g.heldCount += uint32(n)
}

// holdExactly holds blocks that a replay names. It fails if they are in use.
func (f *FS) holdExactly(s span) error {
	n, at := f.sb.GroupOf(s.block)
	return f.inGroup(n, func(g *group, bitmap []byte) error {
		end := int(at) + int(s.n)
		if s.n == 0 || end > int(f.sb.GroupBlocks(n)) || nextSet(bitmap, g.held, int(at), end) != end {
			return refuse(KindInvalid, "replay: blocks are in use", 0, "")
		}
		f.hold(g, int(at), int(s.n))
		return nil
	})
}

// inGroup calls do with group n, locked, and a copy of its block bitmap.
func (f *FS) inGroup(n uint32, do func(g *group, bitmap []byte) error) error {
	g, err := f.groups.get(n)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	p := bouncePool.Get().(*[]byte)
	defer bouncePool.Put(p)
	bitmap := (*p)[:f.bs]
	if err := f.copyBitmap(g, bitmap); err != nil {
		return err
	}
	return do(g, bitmap)
}

// copyBitmap copies the block bitmap of g. g.mu is held.
func (f *FS) copyBitmap(g *group, bitmap []byte) error {
	if f.uninit(g, disk.GroupBlockUninit) {
		f.initBitmap(g, bitmap)
		return nil
	}
	b, err := f.blockBitmap(g)
	if err != nil {
		return err
	}
	defer b.Release()
	copy(bitmap, b.Data)
	return nil
}

// unhold makes held blocks available.
func (f *FS) unhold(s span) {
	f.clearHeld(s)
	f.available.Add(int64(s.n))
}

func (f *FS) clearHeld(s span) {
	n, at := f.sb.GroupOf(s.block)
	g, err := f.groups.get(n)
	if err != nil {
		return // it was loaded when the blocks were held, so it still is
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	f.dropHeld(g, int(at), int(s.n))
}

func (f *FS) dropHeld(g *group, at, n int) {
	for i := at; i < at+n; i++ {
		g.held[i>>3] &^= 1 << (i & 7)
	}
	if g.heldCount -= uint32(n); g.heldCount == 0 {
		g.held = nil
	}
}
