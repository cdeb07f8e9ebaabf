package ext4

import (
	"errors"
	"fmt"
	"strings"

	"github.com/quintet-os/quintet/files/ext4/disk"
)

func asCorrupt(err error, target **disk.CorruptError) bool { return errors.As(err, target) }

// scanInodes looks at every inode the bitmaps say is in use, and for others
// that look as if they were.
func (c *checker) scanInodes() error {
	sb := c.f.sb
	for n := range uint32(sb.Groups()) {
		g, err := c.f.groups.get(n)
		if err != nil {
			continue // reported by layout
		}
		if c.f.uninit(g, disk.GroupInodeUninit) {
			if g.d.FreeInodes != sb.InodesPerGroup {
				c.problem("group %d: its inodes are uninitialised, but only %d are free", n, g.d.FreeInodes)
			}
			continue
		}
		if err := c.scanTable(g); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) scanTable(g *group) error {
	f, sb := c.f, c.f.sb
	b, err := f.inodeBitmap(g)
	if err != nil {
		return c.note(err)
	}
	defer b.Release()
	unused := uint32(0)
	if sb.FeatureROCompat&(disk.ROCompatGdtCsum|disk.ROCompatMetadataCsum) != 0 {
		unused = g.d.ItableUnused
	}
	free, dirs := uint32(0), uint32(0)
	for i := range sb.InodesPerGroup {
		ino := g.n*sb.InodesPerGroup + i + 1
		inUse := b.Data[i>>3]&(1<<(i&7)) != 0
		if !inUse {
			free++
		}
		if i >= sb.InodesPerGroup-unused {
			if inUse {
				c.problem("inode %d: in use in the part of group %d's table said to be unused", ino, g.n)
			}
			continue
		}
		d, err := f.rawInode(ino)
		if err != nil {
			if !inUse && err != nil {
				var corrupt *disk.CorruptError
				if asCorrupt(err, &corrupt) {
					continue // nobody reads it
				}
			}
			if err := c.note(err); err != nil {
				return err
			}
			continue
		}
		switch {
		case inUse && d.IsDir():
			dirs++
			fallthrough
		case inUse:
			if err := c.inode(ino, d); err != nil {
				return err
			}
		case d.Links > 0 && d.Dtime == 0:
			c.problem("inode %d: has %d links, but is marked free", ino, d.Links)
		}
	}
	if free != g.d.FreeInodes {
		c.problem("group %d: %d inodes are free, its descriptor says %d", g.n, free, g.d.FreeInodes)
	}
	if dirs != g.d.UsedDirs {
		c.problem("group %d: has %d directories, its descriptor says %d", g.n, dirs, g.d.UsedDirs)
	}
	if nextClear(b.Data, nil, int(sb.InodesPerGroup), 8*f.bs) != 8*f.bs {
		c.problem("group %d: the end of the inode bitmap is not filled", g.n)
	}
	return nil
}

// inode checks one inode in use and what it maps.
func (c *checker) inode(ino uint32, d *disk.Inode) error {
	f := c.f
	c.r.Inodes++
	reserved := ino < f.sb.FirstInode && ino != Root
	known := c.inodes[ino]
	if known == nil {
		known = &checked{}
		c.inodes[ino] = known
	}
	known.mode, known.links = d.Mode, d.Links
	if reserved && d.Mode == 0 {
		delete(c.inodes, ino)
		if ino != disk.ResizeIno {
			return nil
		}
	}
	if d.Links == 0 && !known.orphan && !reserved {
		c.problem("inode %d: is in use, has no links and is not on the list of orphans", ino)
	}
	if !reserved && d.Links > 0 && d.Dtime != 0 && !known.orphan {
		c.problem("inode %d: has a time of deletion", ino)
	}
	if t := d.Type(); !reserved && disk.DirType(t) == disk.TypeUnknown {
		c.problem("inode %d: mode %o is no type of file", ino, d.Mode)
		return nil
	}
	if d.FileACL != 0 {
		if err := c.attributes(ino, d); err != nil {
			return err
		}
	}
	if err := c.inInode(ino, d); err != nil {
		return err
	}
	i := &inode{ino: ino, d: *d, seed: disk.InodeSeed(f.seed, ino, d.Generation)}
	mapped, last, err := c.blocks(i)
	if err != nil {
		return c.note(err)
	}
	if d.FileACL != 0 {
		mapped++
	}
	want := mapped << (f.shift - 9)
	if got := f.sectors(d); got != want && !d.Has(disk.FlagEAInode) {
		c.problem("inode %d: counts %d sectors, has %d", ino, got, want)
	}
	if d.IsDir() && !d.Has(disk.FlagInlineData) && d.Size != last<<f.shift {
		c.problem("inode %d: directory of %d bytes has %d blocks", ino, d.Size, last)
	}
	if d.IsRegular() && d.Size < last<<f.shift && last > 0 && (d.Size+uint64(f.bs)-1)>>f.shift < last {
		c.problem("inode %d: size %d ends before its block %d", ino, d.Size, last-1)
	}
	return nil
}

// inInode checks what an inode holds itself: attributes and short targets.
func (c *checker) inInode(ino uint32, d *disk.Inode) error {
	f := c.f
	b, off, err := f.inodeSlot(ino)
	if err != nil {
		return c.note(err)
	}
	_, err = disk.DecodeInodeXattrs(b.Data[off:off+int(f.sb.InodeSize)], d.ExtraIsize)
	b.Release()
	if err != nil {
		return c.note(disk.At(err, ino, b.Block()))
	}
	if d.IsSymlink() && d.Links > 0 {
		if d.FastSymlink(f.bs) && d.Has(disk.FlagExtents) {
			c.problem("inode %d: symbolic link in the inode is marked as having extents", ino)
			return nil
		}
		target, err := f.Readlink(ino)
		if err == nil && strings.IndexByte(target, 0) >= 0 {
			c.problem("inode %d: target of the symbolic link ends before its size", ino)
		}
		return c.note(err)
	}
	return nil
}

// attributes checks the attributes of an inode and counts who has its block.
func (c *checker) attributes(ino uint32, d *disk.Inode) error {
	b, err := c.f.cache.Get(d.FileACL, 0, nil)
	if err != nil {
		return c.note(err)
	}
	defer b.Release()
	if _, err := disk.DecodeXattrBlock(b.Data, c.f.sb, d.FileACL); err != nil {
		return c.note(disk.At(err, ino, d.FileACL))
	}
	s := c.shared[d.FileACL]
	if s == nil {
		s = &sharedBlock{refs: disk.XattrBlockRefs(b.Data)}
		c.shared[d.FileACL] = s
		c.take(d.FileACL, 1, fmt.Sprintf("inode %d's attributes", ino))
	}
	s.seen++
	return nil
}

// blocks marks all that an inode maps. It returns the number of blocks, those
// of the map itself included, and the block behind the last written one.
func (c *checker) blocks(i *inode) (mapped, last uint64, err error) {
	f := c.f
	switch {
	case i.ino == disk.ResizeIno:
		return f.sectors(&i.d) >> (f.shift - 9), 0, c.resizeInode(i)
	case !i.d.HasBlocks(f.bs):
		return 0, 0, nil
	case i.d.Has(disk.FlagExtents):
		err = c.extents(i, i.d.Block[:], -1, 0, 1<<32, &mapped, &last)
	default:
		for n := range 15 {
			if err = c.pointers(i, le.Uint32(i.d.Block[4*n:]), max(0, n-11), &mapped, &last); err != nil {
				break
			}
			if n < 12 && le.Uint32(i.d.Block[4*n:]) != 0 {
				last = uint64(n) + 1
			}
		}
		if err == nil {
			last, err = c.lastIndirect(i, last)
		}
	}
	return mapped, last, err
}

// resizeInode marks the blocks of its own of the inode that keeps room for the
// descriptor table; the room itself was marked by layout.
func (c *checker) resizeInode(i *inode) error {
	if p := le.Uint32(i.d.Block[13*4:]); p != 0 {
		c.take(uint64(p), 1, "the resize inode")
	}
	return nil
}

// lastIndirect finds the end of a file without extents from what maps it.
func (c *checker) lastIndirect(i *inode, last uint64) (uint64, error) {
	blocks := (i.d.Size + uint64(c.f.bs) - 1) >> c.f.shift
	for at := last; at < blocks; {
		m, err := c.f.mapIndirect(i, uint32(at))
		if err != nil {
			return last, err
		}
		at += uint64(m.Len)
		if !m.hole() {
			last = min(at, blocks)
		}
	}
	return last, nil
}

// pointers walks the tree of a file without extents.
func (c *checker) pointers(i *inode, p uint32, level int, mapped, last *uint64) error {
	if p == 0 {
		return nil
	}
	if err := c.f.checkPointer(i, p); err != nil {
		return err
	}
	c.take(uint64(p), 1, fmt.Sprintf("inode %d", i.ino))
	*mapped++
	if level == 0 {
		return nil
	}
	b, err := c.f.cache.Get(uint64(p), i.key(keyIndirect), indirectVerifier{c.f, i})
	if err != nil {
		return err
	}
	defer b.Release()
	for o := 0; o < c.f.bs; o += 4 {
		if err := c.pointers(i, le.Uint32(b.Data[o:]), level-1, mapped, last); err != nil {
			return err
		}
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
		c.take(n.Child(k), 1, fmt.Sprintf("inode %d's extent tree", i.ino))
		*mapped++
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
