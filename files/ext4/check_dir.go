package ext4

import (
	"fmt"
	"slices"

	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/fold"
)

// scanDirs reads every directory and counts the names of all inodes.
func (c *checker) scanDirs() error {
	var dirs []uint32
	for ino, k := range c.inodes {
		if k.mode&disk.ModeType == disk.ModeDir && (k.links > 0 || k.orphan) {
			dirs = append(dirs, ino)
		}
	}
	slices.Sort(dirs)
	for _, ino := range dirs {
		c.r.Dirs++
		if k := c.inodes[ino]; k.orphan && k.links == 0 {
			continue
		}
		if err := c.note(c.dir(ino)); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) dir(ino uint32) error {
	f := c.f
	d, err := f.acquire(ino)
	if err != nil {
		return err
	}
	defer f.release(d)
	if d.d.Has(disk.FlagInlineData) {
		return c.inlineDir(d)
	}
	seen := map[string]bool{}
	indexed := f.indexed(d)
	leaves := map[uint32]bool{}
	if indexed {
		if err := c.index(d, leaves); err != nil {
			return err
		}
	}
	for n := range f.dirBlocks(d) {
		if indexed && n > 0 && !leaves[n] {
			continue // a node of the index, or damage that index reports
		}
		kind := uint64(keyDirLeaf)
		if indexed && n == 0 {
			kind = keyIndexRoot
		}
		b, err := f.dirBlock(d, n, kind)
		if err != nil {
			return err
		}
		end := disk.DirentsEnd(f.sb)
		if kind == keyIndexRoot {
			end = 24
		}
		for off := 0; off < end; {
			limit := end
			if kind == keyIndexRoot {
				limit = f.bs
			}
			e, err := disk.ReadDirent(b.Data, off, limit, f.sb)
			if err != nil {
				b.Release()
				return disk.At(err, ino, b.Block())
			}
			if b.Data[off+7] != 0 && e.Ino != 0 && !f.sb.Has(0, disk.IncompatFiletype, 0) {
				c.problem("directory %d, entry %q: has a type, which this file system does not keep", ino, e.Name)
			}
			if e.Ino != 0 {
				c.entry(d, string(e.Name), e.Ino, e.Type, n == 0 && off == 0, n == 0 && off == 12, seen)
			}
			off += min(e.RecLen, end-off)
		}
		b.Release()
	}
	if !seen["."] || !seen[".."] {
		c.problem("directory %d: has no dots", ino)
	}
	return nil
}

// entry accounts for one name.
func (c *checker) entry(d *inode, name string, ino uint32, typ uint8, first, second bool, seen map[string]bool) {
	where := fmt.Sprintf("directory %d, entry %q", d.ino, name)
	key := name
	if c.f.folds(d) {
		if folded, ok := fold.Name(nil, name); ok {
			key = string(folded)
		} else if c.f.sb.EncodingFlags&disk.EncodingStrict != 0 {
			c.problem("%s: is not UTF-8", where)
		}
	}
	if seen[key] {
		c.problem("%s: stands there twice", where)
	}
	seen[key] = true
	k := c.inodes[ino]
	if k == nil || c.f.sb.Special(ino) {
		c.problem("%s: leads to inode %d, which is not in use", where, ino)
		return
	}
	if typ != disk.TypeUnknown && typ != disk.DirType(k.mode) {
		c.problem("%s: is of type %d, inode %d of type %d", where, typ, ino, disk.DirType(k.mode))
	}
	switch {
	case name == ".":
		if !first || ino != d.ino {
			c.problem("%s: leads to inode %d", where, ino)
		}
	case name == "..":
		if !second {
			c.problem("%s: is not the second", where)
		}
		c.inodes[d.ino].up = ino
	case k.mode&disk.ModeType == disk.ModeDir:
		if k.parent != 0 {
			c.problem("%s: directory %d has another name in %d", where, ino, k.parent)
		}
		k.parent = d.ino
	}
	k.names++
}

func (c *checker) inlineDir(d *inode) error {
	list, err := c.f.inlineEntries(d)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	c.entry(d, ".", d.ino, disk.TypeDir, true, false, seen)
	for k, e := range list {
		c.entry(d, e.Name, e.Ino, e.Type, false, k == 0, seen)
	}
	return nil
}

// index walks the htree: every leaf once, its hashes within its range.
func (c *checker) index(d *inode, leaves map[uint32]bool) error {
	f := c.f
	var p htreePath
	if err := f.descend(d, &p, 0); err != nil {
		return err
	}
	defer p.release()
	version := p.frames[0].node.HashVersion()
	from := uint32(0)
	for range f.dirBlocks(d) + 1 {
		n := p.leaf()
		if leaves[n] || n == 0 {
			return &disk.CorruptError{Structure: "directory index", Ino: d.ino, Detail: fmt.Sprintf("leads to block %d twice", n)}
		}
		leaves[n] = true
		b, err := f.dirBlock(d, n, keyDirLeaf)
		if err != nil {
			return err
		}
		next, more, err := f.next(d, &p)
		if err != nil {
			b.Release()
			return err
		}
		f.eachEntry(b, func(e disk.Dirent) {
			hash, _, err := f.nameHash(d, version, e.Name)
			if err != nil || hash < from&^1 || more && hash > next || more && hash == next && next&1 == 0 {
				c.problem("directory %d: entry %q is in the wrong leaf, block %d", d.ino, e.Name, n)
			}
		})
		b.Release()
		if !more {
			return nil
		}
		from = next
	}
	return &disk.CorruptError{Structure: "directory index", Ino: d.ino, Detail: "does not end"}
}

// connectivity checks link counts, and that every directory leads up to the root.
func (c *checker) connectivity() error {
	var all []uint32
	for ino := range c.inodes {
		all = append(all, ino)
	}
	slices.Sort(all)
	for _, ino := range all {
		k := c.inodes[ino]
		if c.f.sb.Special(ino) {
			continue
		}
		if k.orphan && k.mode == 0 {
			c.problem("list of orphans: inode %d is not in use", ino)
		}
		if k.orphan && k.links == 0 {
			continue
		}
		dir := k.mode&disk.ModeType == disk.ModeDir
		if dir && ino != Root && k.parent == 0 || !dir && k.names == 0 {
			c.problem("inode %d: has no name", ino)
		}
		if uint32(k.links) != k.names && !(dir && k.links == 1 && c.f.sb.Has(0, 0, disk.ROCompatDirNlink)) {
			c.problem("inode %d: has %d links, says %d", ino, k.names, k.links)
		}
		if dir {
			c.upwards(ino, k)
		}
	}
	return nil
}

// upwards checks ".." and that the root is reached.
func (c *checker) upwards(ino uint32, k *checked) {
	want := k.parent
	if ino == Root {
		want = Root
	}
	if k.up != want && want != 0 {
		c.problem("directory %d: its \"..\" leads to %d, it is in %d", ino, k.up, want)
	}
	var way []*checked
	for at := k; ino != Root && !at.reached; {
		way = append(way, at)
		if len(way) > len(c.inodes) {
			c.problem("directory %d: does not lead to the root", ino)
			return
		}
		if ino = at.parent; c.inodes[ino] == nil {
			return // reported as nameless
		}
		at = c.inodes[ino]
	}
	for _, w := range way {
		w.reached = true
	}
}

// bitmaps compares what was found with what the bitmaps and counters say.
func (c *checker) bitmaps() error {
	f, sb := c.f, c.f.sb
	for block, s := range c.shared {
		if s.refs != s.seen {
			c.problem("attribute block %d: %d inodes have it, it says %d", block, s.seen, s.refs)
		}
	}
	var freeBlocks, freeInodes uint64
	none := make([]byte, f.bs)
	scratch := make([]byte, f.bs)
	for n := range uint32(sb.Groups()) {
		g, err := f.groups.get(n)
		if err != nil {
			continue
		}
		freeBlocks += uint64(g.d.FreeBlocks)
		freeInodes += uint64(g.d.FreeInodes)
		bitmap := scratch
		if f.uninit(g, disk.GroupBlockUninit) {
			f.initBitmap(g, bitmap)
		} else {
			b, err := f.blockBitmap(g)
			if err != nil {
				if err := c.note(err); err != nil {
					return err
				}
				continue
			}
			copy(bitmap, b.Data)
			b.Release()
		}
		used := c.used[n]
		if used == nil {
			used = none
		}
		c.bitmap(g, bitmap, used)
	}
	if c.r.Recovered {
		return nil // the kernel writes the superblock's counts when it unmounts
	}
	if freeBlocks != sb.FreeBlocks {
		c.problem("superblock: %d blocks are free in the groups, it says %d", freeBlocks, sb.FreeBlocks)
	}
	if freeInodes != uint64(sb.FreeInodes) {
		c.problem("superblock: %d inodes are free in the groups, it says %d", freeInodes, sb.FreeInodes)
	}
	return nil
}

func (c *checker) bitmap(g *group, bitmap, used []byte) {
	blocks := c.f.sb.GroupBlocks(g.n)
	free, wrong := uint32(0), 0
	for i := range blocks {
		marked := bitmap[i>>3]&(1<<(i&7)) != 0
		if !marked {
			free++
		}
		if marked == (used[i>>3]&(1<<(i&7)) != 0) {
			continue
		}
		if wrong++; wrong == 1 {
			state := map[bool]string{true: "marked, but has no owner", false: "in use, but marked free"}[marked]
			c.problem("block bitmap of group %d: block %d is %s", g.n, c.f.sb.GroupStart(g.n)+uint64(i), state)
		}
	}
	if wrong > 1 {
		c.problem("block bitmap of group %d: %d blocks differ in all", g.n, wrong)
	}
	if free != g.d.FreeBlocks {
		c.problem("group %d: %d blocks are free, its descriptor says %d", g.n, free, g.d.FreeBlocks)
	}
	if nextClear(bitmap, nil, int(blocks), 8*c.f.bs) != 8*c.f.bs {
		c.problem("group %d: the end of the block bitmap is not filled", g.n)
	}
}
