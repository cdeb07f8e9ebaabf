package ext4

import (
	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/disk"
)

// mapping says where a run of a file's blocks is. A hole has Physical 0.
type mapping struct {
	Logical   uint32
	Len       uint32
	Physical  uint64
	Unwritten bool
}

func (m mapping) hole() bool { return m.Physical == 0 }

// extentVerifier checks a node in a block on its first use.
type extentVerifier struct {
	f     *FS
	i     *inode
	depth int
}

func (v extentVerifier) Verify(block uint64, data []byte) error {
	if err := disk.CheckExtentNode(data, v.depth, v.f.sb); err != nil {
		return disk.At(err, v.i.ino, block)
	}
	if v.f.sb.MetadataCsum() {
		return disk.At(disk.CheckExtentChecksum(data, v.i.seed), v.i.ino, block)
	}
	return nil
}

func (f *FS) extentNode(i *inode, block uint64, depth int) (*buffer.Buffer, error) {
	return f.cache.Get(block, i.key(keyExtent+uint64(depth)), extentVerifier{f, i, depth})
}

// mapBlock returns the run of blocks of i that starts at or covers logical,
// trimmed to begin there. A hole extends to the next mapped block as far as
// one node of the tree knows. It needs i.mu.
func (f *FS) mapBlock(i *inode, logical uint32) (mapping, error) {
	if !i.d.Has(disk.FlagExtents) {
		return f.mapIndirect(i, logical)
	}
	node := disk.ExtentNode(i.d.Block[:])
	var b *buffer.Buffer
	defer func() {
		if b != nil {
			b.Release()
		}
	}()
	limit := uint64(1) << 32 // first logical block beyond the subtree
	for node.Depth() > 0 {
		at := node.Find(logical)
		if at < 0 {
			return mapping{Logical: logical, Len: clampLen(uint64(node.First(0)) - uint64(logical))}, nil
		}
		if at+1 < node.Entries() {
			limit = uint64(node.First(at + 1))
		}
		next, err := f.extentNode(i, node.Child(at), node.Depth()-1)
		if err != nil {
			return mapping{}, err
		}
		if b != nil {
			b.Release()
		}
		b, node = next, next.Data
	}
	at := node.Find(logical)
	if at >= 0 {
		if x := node.Extent(at); uint64(logical) < x.End() {
			skip := logical - x.Logical
			return mapping{logical, x.Len - skip, x.Physical + uint64(skip), x.Unwritten}, nil
		}
	}
	if at+1 < node.Entries() {
		limit = uint64(node.First(at + 1))
	}
	if limit <= uint64(logical) {
		return mapping{}, &disk.CorruptError{Structure: "extent tree", Ino: i.ino, Detail: "index and leaf disagree"}
	}
	return mapping{Logical: logical, Len: clampLen(limit - uint64(logical))}, nil
}

func clampLen(n uint64) uint32 { return uint32(min(n, 1<<32-1)) }

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

// mapIndirect follows the direct, indirect, double and triple indirect blocks
// of files without extents.
func (f *FS) mapIndirect(i *inode, logical uint32) (mapping, error) {
	const direct = 12
	per := uint64(f.bs / 4)
	n := uint64(logical)
	if n < direct {
		return f.runOfPointers(i, i.d.Block[:direct*4], logical, n)
	}
	n -= direct
	span, level := per, 1
	for n >= span {
		n -= span
		span *= per
		level++
		if level > 3 {
			return mapping{Logical: logical, Len: clampLen(1<<32 - uint64(logical))}, nil
		}
	}
	p := le.Uint32(i.d.Block[(direct+level-1)*4:])
	if err := f.checkPointer(i, p); err != nil {
		return mapping{}, err
	}
	for {
		if p == 0 {
			return mapping{Logical: logical, Len: clampLen(span - n%span)}, nil
		}
		b, err := f.cache.Get(uint64(p), i.key(keyIndirect), indirectVerifier{f, i})
		if err != nil {
			return mapping{}, err
		}
		span /= per
		if span == 1 {
			m, err := f.runOfPointers(i, b.Data, logical, n%per)
			b.Release()
			return m, err
		}
		p = le.Uint32(b.Data[n/span%per*4:])
		b.Release()
	}
}

// runOfPointers gathers adjacent pointers from index at on.
func (f *FS) runOfPointers(i *inode, pointers []byte, logical uint32, at uint64) (mapping, error) {
	m := mapping{Logical: logical, Physical: uint64(le.Uint32(pointers[at*4:]))}
	for ; at*4 < uint64(len(pointers)); at++ {
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
