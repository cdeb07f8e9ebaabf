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
