package ext4

import (
	"sync"
	"sync/atomic"

	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/disk"
)

// groupTable holds the decoded group descriptors, a descriptor block at a time
// as they are needed, so that opening a volume of many terabytes is quick.
type groupTable struct {
	f      *FS
	mu     sync.Mutex // serialises loading
	chunks []atomic.Pointer[[]group]
}

// group is one block group in memory.
type group struct {
	mu sync.Mutex // guards what follows, both bitmaps and the descriptor's bytes
	n  uint32
	d  disk.Group
	// held marks blocks that may not be given out though the bitmap says they
	// are free: freed by a transaction that has not committed, or reserved. Nil
	// when heldCount is 0.
	held      []byte
	heldCount uint32
	// freed marks inodes likewise; nil when freedCount is 0.
	freed      []byte
	freedCount uint32
}

func (t *groupTable) init(f *FS) {
	t.f = f
	t.chunks = make([]atomic.Pointer[[]group], f.sb.DescBlocks())
}

// get returns group n, loading and checking its descriptor's whole block if it
// is the first use of it.
func (t *groupTable) get(n uint32) (*group, error) {
	per := t.f.sb.DescPerBlock()
	c := n / per
	if uint64(n) >= t.f.sb.Groups() {
		return nil, disk.Corrupt("block group", "group %d of %d", n, t.f.sb.Groups())
	}
	if p := t.chunks[c].Load(); p != nil {
		return &(*p)[n%per], nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.chunks[c].Load(); p != nil {
		return &(*p)[n%per], nil
	}
	groups, err := t.load(c)
	if err != nil {
		return nil, err
	}
	t.chunks[c].Store(&groups)
	return &groups[n%per], nil
}

func (t *groupTable) load(c uint32) ([]group, error) {
	sb := t.f.sb
	block := sb.DescBlock(c)
	b, err := t.f.cache.Get(block, 0, nil)
	if err != nil {
		return nil, err
	}
	defer b.Release()
	first := uint64(c) * uint64(sb.DescPerBlock())
	groups := make([]group, min(uint64(sb.DescPerBlock()), sb.Groups()-first))
	size := sb.GroupDescSize()
	for i := range groups {
		n := uint32(first) + uint32(i)
		raw := b.Data[i*size : (i+1)*size]
		if err := disk.CheckGroup(raw, sb, n); err != nil {
			return nil, disk.At(err, 0, block)
		}
		groups[i].n = n
		groups[i].d = disk.DecodeGroup(raw)
	}
	return groups, nil
}

// inodeSlot returns the pinned block of the inode table that holds ino, and
// the offset of its slot.
func (f *FS) inodeSlot(ino uint32) (*buffer.Buffer, int, error) {
	if ino == 0 || ino > f.sb.InodesCount {
		return nil, 0, refuse(KindInvalid, "read", ino, "")
	}
	g, err := f.groups.get((ino - 1) / f.sb.InodesPerGroup)
	if err != nil {
		return nil, 0, err
	}
	off := uint64((ino-1)%f.sb.InodesPerGroup) * uint64(f.sb.InodeSize)
	b, err := f.cache.Get(g.d.InodeTable+off>>f.shift, 0, nil)
	if err != nil {
		return nil, 0, err
	}
	return b, int(off & uint64(f.bs-1)), nil
}
