package ext4

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/quintet-os/quintet/files/ext4/disk"
)

// inTable reports a block of a table of inodes. One that must not be used stays
// where it is, and the inodes in it are out of use.
func (c *checker) inTable(block uint64) bool {
	n, found := slices.BinarySearchFunc(c.tables, block, func(s span, block uint64) int { return cmp.Compare(s.block, block) })
	return found || n > 0 && block < c.tables[n-1].block+uint64(c.tables[n-1].n)
}

// resizeInode checks the inode that keeps room for the descriptor table. It has
// one block of its own, which leads to the blocks kept behind the first table;
// each of those leads to its copies in the other groups. All but the one were
// marked by layout.
func (c *checker) resizeInode(i *inode) error {
	sb := c.f.sb
	const slot = directBlocks + 1
	p := le.Uint32(i.d.Block[slot*4:])
	others := false
	for k := range directBlocks + pointerLevels {
		others = others || k != slot && le.Uint32(i.d.Block[4*k:]) != 0
	}
	if !sb.Has(disk.CompatResizeInode, 0, 0) {
		if p != 0 || others {
			c.problem("the resize inode: has blocks, the file system keeps no room to grow")
		}
		return nil
	}
	if p == 0 || others || !i.d.IsRegular() || i.d.Links == 0 {
		c.problem("the resize inode: is not a file of one block of pointers to pointers")
		return nil
	}
	if err := c.f.checkPointer(i, p); err != nil {
		return err
	}
	c.take(uint64(p), 1, "the resize inode")
	top, err := c.f.cache.Get(uint64(p), 0, nil)
	if err != nil {
		return err
	}
	defer top.Release()
	copies := c.copies()
	first := uint64(sb.FirstDataBlock) + 1
	for k := sb.DescBlocks(); k < sb.DescBlocks()+uint32(sb.ReservedGDT); k++ {
		at, want := 4*(int(k)%(c.f.bs/4)), first+uint64(k)
		if got := le.Uint32(top.Data[at:]); uint64(got) != want {
			c.problem("the resize inode: leads to block %d instead of %d", got, want)
			return nil
		}
		if err := c.reserved(want, copies); err != nil {
			return err
		}
	}
	return nil
}

// copies lists the groups, but the first, that have the descriptor table.
func (c *checker) copies() (list []uint32) {
	for n := uint32(1); uint64(n) < c.f.sb.Groups(); n++ {
		if c.f.sb.HasSuper(n) {
			list = append(list, n)
		}
	}
	return list
}

// reserved checks that a block kept for the descriptor table leads to its copies.
func (c *checker) reserved(block uint64, copies []uint32) error {
	b, err := c.f.cache.Get(block, 0, nil)
	if err != nil {
		return err
	}
	defer b.Release()
	for k, n := range copies[:min(len(copies), c.f.bs/4)] {
		want := block + uint64(n)*uint64(c.f.sb.BlocksPerGroup)
		if got := le.Uint32(b.Data[4*k:]); uint64(got) != want {
			return &disk.CorruptError{Structure: "resize inode", Ino: disk.ResizeIno, Block: block, Detail: fmt.Sprintf("leads to block %d instead of %d", got, want)}
		}
	}
	return nil
}
