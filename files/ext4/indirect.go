package ext4

import (
	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/disk"
)

// Files without extents, as ext2 and ext3 make them: the inode names twelve
// blocks itself, and then one block of pointers, one of pointers to such
// blocks, and one of pointers to those.

const (
	directBlocks  = 12
	pointerLevels = 3
)

// route is the way to a block of such a file: a slot of the inode, and the
// index in each block of pointers below it.
type route struct {
	slot   int
	levels int // blocks of pointers on the way
	at     [pointerLevels]uint32
}

// routeTo returns false for blocks that no such file has.
func (f *FS) routeTo(logical uint32) (r route, ok bool) {
	per, n := uint64(f.bs/4), uint64(logical)
	if n < directBlocks {
		return route{slot: int(n)}, true
	}
	n -= directBlocks
	for span := per; r.levels < pointerLevels; span *= per {
		r.levels++
		if n < span {
			r.slot = directBlocks + r.levels - 1
			for l := r.levels - 1; l >= 0; l-- {
				r.at[l] = uint32(n % per)
				n /= per
			}
			return r, true
		}
		n -= span
	}
	return r, false
}

// rest counts the blocks from the route's own to the end of what the pointer
// above level leads to.
func (f *FS) rest(r *route, level int) uint64 {
	per, size, before := uint64(f.bs/4), uint64(1), uint64(0)
	for l := level; l < r.levels; l++ {
		size *= per
		before = before*per + uint64(r.at[l])
	}
	return size - before
}

// indirectBlocksMax is how many blocks a file without extents can have.
func (f *FS) indirectBlocksMax() uint64 {
	per := uint64(f.bs / 4)
	return directBlocks + per + per*per + per*per*per
}

// indirectVerifier checks that all pointers of an indirect block lie on the
// volume.
type indirectVerifier struct {
	f *FS
	i *inode
}

func (v indirectVerifier) Verify(block uint64, data []byte) error {
	for o := 0; o < len(data); o += 4 {
		if err := v.f.checkPointer(v.i, le.Uint32(data[o:])); err != nil {
			return disk.At(err, v.i.ino, block)
		}
	}
	return nil
}

func (f *FS) checkPointer(i *inode, p uint32) error {
	if p != 0 && (uint64(p) <= uint64(f.sb.FirstDataBlock) || uint64(p) >= f.sb.BlocksCount) {
		return &disk.CorruptError{Structure: "block map", Ino: i.ino, Detail: "a pointer leads beyond the volume"}
	}
	return nil
}

// pointers returns the block of pointers that p leads to.
func (f *FS) pointers(i *inode, p uint32) (*buffer.Buffer, error) {
	if err := f.checkPointer(i, p); err != nil {
		return nil, err
	}
	return f.cache.Get(uint64(p), i.key(keyIndirect), indirectVerifier{f, i})
}

// mapIndirect is mapBlock for files without extents.
func (f *FS) mapIndirect(i *inode, logical uint32) (mapping, error) {
	r, ok := f.routeTo(logical)
	if !ok {
		return mapping{Logical: logical, Len: clampLen(1<<32 - uint64(logical))}, nil
	}
	if r.levels == 0 {
		return f.runOfPointers(i, i.d.Block[:4*directBlocks], logical, r.slot)
	}
	p := le.Uint32(i.d.Block[4*r.slot:])
	for l := 0; ; l++ {
		if p == 0 {
			return mapping{Logical: logical, Len: clampLen(f.rest(&r, l))}, nil
		}
		b, err := f.pointers(i, p)
		if err != nil {
			return mapping{}, err
		}
		if l == r.levels-1 {
			m, err := f.runOfPointers(i, b.Data, logical, int(r.at[l]))
			b.Release()
			return m, err
		}
		p = le.Uint32(b.Data[4*r.at[l]:])
		b.Release()
	}
}

// runOfPointers gathers adjacent pointers from index at on.
func (f *FS) runOfPointers(i *inode, pointers []byte, logical uint32, at int) (mapping, error) {
	m := mapping{Logical: logical, Physical: uint64(le.Uint32(pointers[at*4:]))}
	for ; at*4 < len(pointers); at++ {
		p := le.Uint32(pointers[at*4:])
		if err := f.checkPointer(i, p); err != nil {
			return m, err
		}
		want := uint64(0)
		if m.Physical != 0 {
			want = m.Physical + uint64(m.Len)
		}
		if uint64(p) != want {
			break
		}
		m.Len++
	}
	return m, nil
}
