package ext4

import (
	"fmt"

	"github.com/quintet-os/quintet/files/ext4/disk"
)

// blocks marks all that an inode maps. It returns the number of blocks, those
// of the map itself included, and the block behind the last written one.
func (c *checker) blocks(i *inode) (mapped, last uint64, err error) {
	f := c.f
	switch {
	case i.ino == disk.ResizeIno:
		return f.sectors(&i.d) >> (f.shift - 9), 0, c.resizeInode(i)
	case i.ino == disk.BadBlocksIno:
		err = c.blockMap(i, &mapped, &last)
	case !i.d.HasBlocks(f.bs):
	case i.d.Has(disk.FlagExtents):
		err = c.extents(i, i.d.Block[:], -1, 0, 1<<32, &mapped, &last)
	default:
		err = c.blockMap(i, &mapped, &last)
	}
	return mapped, last, err
}

// blockMap walks all that the inode of a file without extents leads to.
func (c *checker) blockMap(i *inode, mapped, last *uint64) error {
	base, span := uint64(0), uint64(1)
	for n := range directBlocks + pointerLevels {
		level := max(0, n-directBlocks+1)
		if level > 0 {
			span *= uint64(c.f.bs / 4)
		}
		if err := c.pointers(i, le.Uint32(i.d.Block[4*n:]), level, base, span, mapped, last); err != nil {
			return err
		}
		base += span
	}
	return nil
}

// pointers follows a pointer to span blocks of a file, from base on.
func (c *checker) pointers(i *inode, p uint32, level int, base, span uint64, mapped, last *uint64) error {
	if p == 0 {
		return nil
	}
	if err := c.f.checkPointer(i, p); err != nil {
		return err
	}
	*mapped++
	if level == 0 && i.ino == disk.BadBlocksIno && c.inTable(uint64(p)) {
		c.bad[uint64(p)] = true
		return nil
	}
	alone := c.take(uint64(p), 1, fmt.Sprintf("inode %d", i.ino))
	if level == 0 {
		*last = max(*last, base+1)
		return nil
	}
	if !alone {
		return nil
	}
	b, err := c.f.pointers(i, p)
	if err != nil {
		return err
	}
	defer b.Release()
	span /= uint64(c.f.bs / 4)
	for o := 0; o < c.f.bs; o += 4 {
		if err := c.pointers(i, le.Uint32(b.Data[o:]), level-1, base, span, mapped, last); err != nil {
			return err
		}
		base += span
	}
	return nil
}

// extents walks a node that covers logical blocks lo to hi.
func (c *checker) extents(i *inode, p []byte, depth int, lo, hi uint64, mapped, last *uint64) error {
	if err := disk.CheckExtentNode(p, depth, c.f.sb); err != nil {
		return disk.At(err, i.ino, 0)
	}
	n := disk.ExtentNode(p)
	for k := range n.Entries() {
		first := uint64(n.First(k))
		if first < lo || first >= hi {
			c.problem("inode %d: extent tree has logical block %d outside of %d to %d", i.ino, first, lo, hi)
		}
		if n.Depth() == 0 {
			x := n.Extent(k)
			if x.End() > hi {
				c.problem("inode %d: extent at logical block %d reaches into the next leaf", i.ino, first)
			}
			c.take(x.Physical, uint64(x.Len), fmt.Sprintf("inode %d", i.ino))
			*mapped += uint64(x.Len)
			if !x.Unwritten {
				*last = max(*last, x.End())
			}
			continue
		}
		end := hi
		if k+1 < n.Entries() {
			end = uint64(n.First(k + 1))
		}
		b, err := c.f.extentNode(i, n.Child(k), n.Depth()-1)
		if err != nil {
			return err
		}
		*mapped++
		if !c.take(n.Child(k), 1, fmt.Sprintf("inode %d's extent tree", i.ino)) {
			b.Release()
			continue
		}
		child := disk.ExtentNode(b.Data)
		if child.Entries() == 0 || uint64(child.First(0)) != first {
			c.problem("inode %d: extent index says %d, its node begins elsewhere", i.ino, first)
		}
		err = c.extents(i, b.Data, n.Depth()-1, first, end, mapped, last)
		b.Release()
		if err != nil {
			return err
		}
	}
	return nil
}
