package ext4

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/quintet-os/quintet/files/ext4/disk"
)

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
		if c.bad[g.d.InodeTable+uint64(i)*uint64(sb.InodeSize)>>f.shift] {
			if !inUse {
				c.problem("inode %d: lies in a bad block, but is marked free", ino)
			}
			continue
		}
		d, err := f.rawInode(ino)
		if err != nil {
			if !inUse && errors.Is(err, disk.ErrCorrupt) {
				continue // nobody reads it
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
		case ino >= sb.FirstInode && d.Mode != 0 && d.Dtime == 0:
			c.problem("inode %d: was freed at no time", ino)
		case ino >= sb.FirstInode && d.Dtime != 0 && c.links(d.Dtime):
			c.problem("inode %d: is free, but leads on to inode %d as orphans do", ino, d.Dtime)
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

// links reports a time of deletion that can only be the number of an inode, on
// a volume whose other times are later.
func (c *checker) links(dtime uint32) bool {
	sb := c.f.sb
	n := uint64(sb.InodesCount)
	return dtime <= sb.InodesCount && sb.WriteTime > n && (sb.MountTime == 0 || sb.MountTime > n) && (sb.MkfsTime == 0 || sb.MkfsTime > n)
}

// inode checks one inode in use and what it maps.
func (c *checker) inode(ino uint32, d *disk.Inode) error {
	f := c.f
	c.r.Inodes++
	reserved := f.sb.Special(ino)
	known := c.inodes[ino]
	if known == nil {
		known = &checked{}
		c.inodes[ino] = known
	}
	known.mode, known.links = d.Mode, d.Links
	if reserved && d.Mode == 0 {
		delete(c.inodes, ino)
		if ino != disk.ResizeIno && ino != disk.BadBlocksIno {
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
		if !f.sb.Has(disk.CompatExtAttr, 0, 0) {
			c.problem("inode %d: has attributes, the file system does not", ino)
		}
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
	c.uses(i, mapped)
	want := mapped << (f.shift - 9)
	if got := f.sectors(d); got != want && !d.Has(disk.FlagEAInode) && ino != disk.BadBlocksIno {
		c.problem("inode %d: counts %d sectors, has %d", ino, got, want)
	}
	if d.Has(disk.FlagIndex) && f.noDir {
		c.problem("inode %d: is an indexed directory, which this file system does not have", ino)
	}
	if d.IsDir() && !d.Has(disk.FlagInlineData) && d.Size != last<<f.shift {
		c.problem("inode %d: directory of %d bytes has %d blocks", ino, d.Size, last)
	}
	if d.IsRegular() && !d.Has(disk.FlagVerity) && last > 0 && d.Size < (last-1)<<f.shift {
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
	slot := b.Data[off : off+int(f.sb.InodeSize)]
	list, err := disk.DecodeInodeXattrs(slot, d.ExtraIsize)
	far := !f.sb.Has(0, disk.Incompat64Bit, 0) && disk.FarACL(slot)
	b.Release()
	if err != nil {
		return c.note(disk.At(err, ino, b.Block()))
	}
	if far {
		c.problem("inode %d: its attribute block is beyond 2^32", ino)
	}
	if d.Has(disk.FlagInlineData) {
		if !f.sb.Has(0, disk.IncompatInlineData, 0) {
			c.problem("inode %d: holds its data, which this file system does not do", ino)
		} else if !slices.ContainsFunc(list, func(x disk.Xattr) bool { return x.Index == disk.XattrSystem && x.Name == "data" }) {
			c.problem("inode %d: holds its data, but has no attribute for it", ino)
		}
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
		return c.note(fmt.Errorf("inode %d's attributes: %w", ino, err))
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
