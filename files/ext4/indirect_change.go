package ext4

import (
	"math"

	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/disk"
)

// initMap gives a new inode an empty map of its blocks.
func (f *FS) initMap(i *inode) {
	i.d.Block = [60]byte{}
	if f.sb.Has(0, disk.IncompatExtents, 0) {
		i.d.Flags |= disk.FlagExtents
		disk.InitExtentNode(i.d.Block[:], 0, true)
	}
}

// canMap refuses to add blocks to a file without extents where there are blocks
// that its pointers of 32 bits do not reach.
func (f *FS) canMap(i *inode, op string) error {
	if !i.d.Has(disk.FlagExtents) && f.sb.BlocksCount > math.MaxUint32 {
		return refuse(KindNotSupported, op+": file without extents on a volume of 2^32 blocks or more", i.ino, "")
	}
	return nil
}

// maxSize is the greatest size of file i in bytes: what its map reaches, and
// what its count of sectors does.
func (f *FS) maxSize(i *inode) uint64 {
	counted := uint64(math.MaxUint64) // blocks that an inode can count
	if !f.sb.Has(0, 0, disk.ROCompatHugeFile) {
		counted = uint64(math.MaxUint32) >> (f.shift - 9)
	}
	if i.d.Has(disk.FlagExtents) {
		return min(counted, disk.LogicalBlocksMax) << f.shift
	}
	blocks := f.indirectBlocksMax()
	if counted < math.MaxUint64 {
		blocks = min(blocks, counted-f.pointerBlocks(counted))
	}
	return min(blocks, disk.LogicalBlocksMax) << f.shift
}

// pointerBlocks is how many blocks of pointers n blocks of a file need.
func (f *FS) pointerBlocks(n uint64) (total uint64) {
	per := uint64(f.bs / 4)
	n -= min(n, directBlocks)
	for reach := per; reach <= per*per*per; reach *= per {
		part := min(n, reach)
		for span := per; span <= reach; span *= per {
			total += (part + span - 1) / span
		}
		n -= part
	}
	return total
}

// runMax is how many blocks from logical on one change of the map can add.
func (f *FS) runMax(i *inode, logical uint32) uint32 {
	if i.d.Has(disk.FlagExtents) {
		return math.MaxUint32
	}
	switch r, _ := f.routeTo(logical); r.levels {
	case 0:
		return directBlocks - logical
	default:
		return uint32(f.bs/4) - r.at[r.levels-1]
	}
}

// mapRun makes blocks that are in use now part of i, at most runMax of them,
// where it has a hole. The caller writes the inode.
func (t *tx) mapRun(i *inode, logical, n uint32, physical uint64) error {
	if i.d.Has(disk.FlagExtents) {
		return t.insertExtent(i, disk.Extent{Logical: logical, Len: n, Physical: physical})
	}
	return t.insertPointers(i, logical, n, physical)
}

// insertPointers allocates a block of pointers at each level, at most.
func (t *tx) insertPointers(i *inode, logical, n uint32, physical uint64) error {
	r, ok := t.f.routeTo(logical)
	if !ok {
		return refuse(KindTooBig, "map", i.ino, "")
	}
	t.changed = true
	var holder *buffer.Buffer // of the pointer followed; nil: the inode
	where := i.d.Block[4*r.slot:]
	defer func() {
		if holder != nil {
			holder.Release()
		}
	}()
	for l := range r.levels {
		b, err := t.followPointer(i, holder, where, physical)
		if err != nil {
			return err
		}
		if holder != nil {
			holder.Release()
		}
		holder, where = b, b.Data[4*r.at[l]:]
	}
	if holder != nil {
		if err := t.modify(holder); err != nil {
			return err
		}
	}
	for k := range n {
		if le.Uint32(where[4*k:]) != 0 {
			return &disk.CorruptError{Structure: "block map", Ino: i.ino, Detail: "blocks to be mapped are mapped"}
		}
		le.PutUint32(where[4*k:], uint32(physical)+k)
	}
	return nil
}

// followPointer returns the block of pointers that the pointer at where leads
// to; if there is none it is made, near goal.
func (t *tx) followPointer(i *inode, holder *buffer.Buffer, where []byte, goal uint64) (*buffer.Buffer, error) {
	if p := le.Uint32(where); p != 0 {
		return t.f.pointers(i, p)
	}
	block, err := t.allocate(goal)
	if err != nil {
		return nil, err
	}
	b, err := t.create(block)
	if err != nil {
		return nil, err
	}
	b.SetVerified(i.key(keyIndirect))
	if holder != nil {
		if err := t.modify(holder); err != nil {
			b.Release()
			return nil, err
		}
	}
	le.PutUint32(where, uint32(block))
	t.addBlocks(i, 1)
	return b, nil
}

// removeBlocks unmaps and frees blocks from up to (not including) to. It stops
// early, returning where to go on, when the transaction's credits run short;
// the map is consistent then, and the caller writes the inode and restarts.
func (t *tx) removeBlocks(i *inode, from uint32, to uint64) (next uint64, err error) {
	if i.d.Has(disk.FlagExtents) {
		return t.removeExtents(i, from, to)
	}
	for at := uint64(from); at < to; {
		if t.credits() < creditsCut && t.changed {
			return at, nil
		}
		m, err := t.f.mapIndirect(i, uint32(at))
		if err != nil {
			return at, err
		}
		m.Len = uint32(min(uint64(m.Len), to-at))
		if !m.hole() {
			if err := t.cutPointers(i, m); err != nil {
				return at, err
			}
		}
		at += uint64(m.Len)
	}
	return to, nil
}

// cutPointers frees a run of blocks, and blocks of pointers that become empty.
func (t *tx) cutPointers(i *inode, m mapping) error {
	f := t.f
	r, _ := f.routeTo(m.Logical)
	var path [pointerLevels]*buffer.Buffer
	defer func() {
		for _, b := range path {
			if b != nil {
				b.Release()
			}
		}
	}()
	p := le.Uint32(i.d.Block[4*r.slot:])
	for l := range r.levels {
		b, err := f.pointers(i, p)
		if err != nil {
			return err
		}
		path[l] = b
		p = le.Uint32(b.Data[4*r.at[l]:])
	}
	if err := t.free(m.Physical, m.Len, i.d.IsDir() || i.d.IsSymlink()); err != nil {
		return err
	}
	t.addBlocks(i, -int64(m.Len))
	n := m.Len // pointers to be cleared
	for l := r.levels - 1; l >= 0; l, n = l-1, 1 {
		b := path[l]
		if err := t.modify(b); err != nil {
			return err
		}
		clear(b.Data[4*r.at[l] : 4*(r.at[l]+n)])
		if nextSet(b.Data, nil, 0, 8*f.bs) < 8*f.bs {
			return nil
		}
		if err := t.free(b.Block(), 1, true); err != nil {
			return err
		}
		t.addBlocks(i, -1)
	}
	clear(i.d.Block[4*r.slot : 4*(r.slot+int(n))])
	return nil
}
