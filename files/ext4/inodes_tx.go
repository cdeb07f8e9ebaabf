package ext4

import (
	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/disk"
)

// inodeBitmap returns group g's inode bitmap. g.mu is held.
func (f *FS) inodeBitmap(g *group) (*buffer.Buffer, error) {
	return f.cache.Get(g.d.InodeBitmap, keyInodeBitmap<<60|uint64(g.n), bitmapVerifier{f, g, false})
}

// chooseGroup proposes the order in which groups are tried for a new inode:
// files near their directory; directories of the root spread over the volume,
// others near their parent if that has room.
func (f *FS) chooseGroup(parent *inode, dir bool, generation uint32) uint32 {
	groups := uint32(f.sb.Groups())
	home := (parent.ino - 1) / f.sb.InodesPerGroup
	if !dir {
		return home
	}
	if parent.ino == Root {
		home = generation % groups
	}
	inodes := uint32(f.freeInodes.Load() / int64(groups))
	blocks := uint32(f.freeBlocks.Load() / int64(groups))
	const groupsTriedMax = 64
	for k := range min(groups, groupsTriedMax) {
		n := (home + k) % groups
		g, err := f.groups.get(n)
		if err != nil {
			continue
		}
		g.mu.Lock()
		ok := g.d.FreeInodes > 0 && g.d.FreeInodes >= inodes && g.d.FreeBlocks >= blocks/2
		g.mu.Unlock()
		if ok {
			return n
		}
	}
	return home
}

// newInode allocates an inode that no running transaction has freed, and returns it locked, referenced, in memory,
// with its slot yet to be written. It fails with KindNoSpace, before any
// change, when there is none.
func (t *tx) newInode(parent *inode, mode uint16) (*inode, error) {
	f := t.f
	generation := f.generation()
	d := t.op.Decision
	var ino uint32
	if t.op.replaying() {
		ino, generation = d.Ino, d.Generation
		if ino == 0 || ino > f.sb.InodesCount {
			return nil, refuse(KindInvalid, "replay: no inode was recorded", 0, "")
		}
		ok, err := t.takeInode((ino-1)/f.sb.InodesPerGroup, int((ino-1)%f.sb.InodesPerGroup), true, mode)
		if err == nil && ok == 0 {
			err = refuse(KindInvalid, "replay: the inode is in use", ino, "")
		}
		if err != nil {
			return nil, err
		}
	} else {
		start := f.chooseGroup(parent, mode&disk.ModeType == disk.ModeDir, generation)
		groups := uint32(f.sb.Groups())
		for k := uint32(0); k < groups && ino == 0; k++ {
			var err error
			if ino, err = t.takeInode((start+k)%groups, 0, false, mode); err != nil {
				return nil, err
			}
		}
		if ino == 0 {
			return nil, refuse(KindNoSpace, "create", parent.ino, "")
		}
		if d != nil {
			d.Ino, d.Generation = ino, generation
		}
	}
	i := f.newInode(ino)
	i.seed = disk.InodeSeed(f.seed, ino, generation)
	i.d = disk.Inode{Mode: mode, UID: t.op.UID, GID: t.op.GID, Links: 1, Generation: generation,
		Flags: disk.InheritedFlags(mode, parent.d.Flags), Atime: t.now, Mtime: t.now, Ctime: t.now, Crtime: t.now}
	i.d.ExtraIsize = f.extraIsize()
	ids := f.heirOf(t.op, parent)
	i.d.GID, i.d.ProjectID = ids[GroupQuota], ids[ProjectQuota]
	if parent.d.Mode&0o2000 != 0 && mode&disk.ModeType == disk.ModeDir {
		i.d.Mode |= 0o2000
	}
	t.count(i, 0, 1)
	i.noCapabilities = true
	i.state.Store(inodeReady)
	i.mu.Lock()
	s := f.inodes.shard(ino)
	s.mu.Lock()
	s.table[ino] = i
	s.mu.Unlock()
	return i, t.changeSlot(ino, func(slot []byte) { clear(slot) })
}

// goodExtraIsize is what all fields that have a meaning take.
const goodExtraIsize = 32

// extraIsize is what a new inode uses beyond the first 128 bytes.
func (f *FS) extraIsize() uint16 {
	if f.sb.InodeSize == 128 {
		return 0
	}
	want := max(goodExtraIsize, f.sb.WantExtraIsize)
	if want > f.sb.InodeSize-128 || want%4 != 0 { // impossible, so Linux does without
		return goodExtraIsize
	}
	return want
}

// takeInode allocates the first free inode of a group from index on, or none
// (0), or exactly the one at index.
func (t *tx) takeInode(n uint32, index int, exactly bool, mode uint16) (uint32, error) {
	f := t.f
	g, err := f.groups.get(n)
	if err != nil {
		return 0, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.d.FreeInodes == 0 {
		return 0, nil
	}
	end := int(f.sb.InodesPerGroup)
	if n == 0 {
		index = max(index, int(f.sb.FirstInode)-1)
	}
	fresh := f.uninit(g, disk.GroupInodeUninit)
	var b *buffer.Buffer
	if fresh {
		if b, err = t.create(g.d.InodeBitmap); err != nil {
			return 0, err
		}
		defer b.Release()
		setBits(b.Data, end, 8*f.bs)
		g.d.Flags &^= disk.GroupInodeUninit
		g.d.ItableUnused = f.sb.InodesPerGroup
		b.SetVerified(keyInodeBitmap<<60 | uint64(n))
	} else {
		if b, err = f.inodeBitmap(g); err != nil {
			return 0, err
		}
		defer b.Release()
	}
	at := nextClear(b.Data, g.freed, index, end)
	if at >= end || exactly && at != index {
		return 0, nil
	}
	if err := t.modify(b); err != nil {
		return 0, err
	}
	if f.sb.FeatureROCompat&(disk.ROCompatGdtCsum|disk.ROCompatMetadataCsum) != 0 {
		if err := t.initTable(g, uint32(at)); err != nil {
			return 0, err
		}
	}
	b.Data[at>>3] |= 1 << (at & 7)
	g.d.FreeInodes--
	if mode&disk.ModeType == disk.ModeDir {
		g.d.UsedDirs++
	}
	f.freeInodes.Add(-1)
	t.counts = true
	g.d.InodeBitmapCsum = f.sb.InodeBitmapChecksum(b.Data)
	return n*f.sb.InodesPerGroup + uint32(at) + 1, t.writeGroup(g)
}

// initTable lets the inode at index be used: what is unused of the table is
// zeroed the first time, on the volume itself, since nothing refers to it yet.
func (t *tx) initTable(g *group, index uint32) error {
	f := t.f
	sb := f.sb
	used := sb.InodesPerGroup - min(g.d.ItableUnused, sb.InodesPerGroup)
	if g.d.Flags&disk.GroupInodeZeroed == 0 && index >= used {
		per := uint32(f.bs / int(sb.InodeSize))
		first := (used + per - 1) / per // first block without an inode in use
		if used%per != 0 {
			b, err := f.cache.Get(g.d.InodeTable+uint64(first-1), 0, nil)
			if err != nil {
				return err
			}
			err = t.modify(b)
			clear(b.Data[int(used%per)*int(sb.InodeSize):])
			b.Release()
			if err != nil {
				return err
			}
		}
		start, n := g.d.InodeTable+uint64(first), uint64(sb.InodeTableBlocks()-first)
		if n > 0 {
			f.cache.Forget(start, n)
			if err := f.volume.WriteZeroes(int64(start)<<f.shift, int64(n)<<f.shift); err != nil {
				return err
			}
		}
		g.d.Flags |= disk.GroupInodeZeroed
	}
	if index >= used {
		g.d.ItableUnused = sb.InodesPerGroup - index - 1
	}
	return nil
}

// freeInode gives inode i back; its blocks are gone already. It needs i.mu.
func (t *tx) freeInode(i *inode) error {
	f := t.f
	n := (i.ino - 1) / f.sb.InodesPerGroup
	at := (i.ino - 1) % f.sb.InodesPerGroup
	g, err := f.groups.get(n)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	b, err := f.inodeBitmap(g)
	if err != nil {
		return err
	}
	defer b.Release()
	if b.Data[at>>3]&(1<<(at&7)) == 0 {
		return disk.At(disk.Corrupt("inode bitmap", "group %d: an inode to be freed is free", n), i.ino, b.Block())
	}
	if err := t.modify(b); err != nil {
		return err
	}
	b.Data[at>>3] &^= 1 << (at & 7)
	g.d.FreeInodes++
	if i.d.IsDir() {
		g.d.UsedDirs--
	}
	f.freeInodes.Add(1)
	t.counts = true
	g.d.InodeBitmapCsum = f.sb.InodeBitmapChecksum(b.Data)
	if err := t.writeGroup(g); err != nil {
		return err
	}
	if g.freed == nil {
		g.freed = make([]byte, f.bs)
	}
	g.freed[at>>3] |= 1 << (at & 7)
	g.freedCount++
	t.h.OnCommit(func() { g.reuse(at) })
	t.count(i, 0, -1)
	i.d.Links, i.d.Size, i.d.FileACL = 0, 0, 0
	i.d.Dtime = uint32(max(1, t.now.Sec))
	if err := t.writeInode(i); err != nil {
		return err
	}
	f.drop(i)
	return nil
}

// reuse lets a freed inode be given out again.
func (g *group) reuse(at uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.freed[at>>3] &^= 1 << (at & 7)
	if g.freedCount--; g.freedCount == 0 {
		g.freed = nil
	}
}

// drop takes a freed inode out of memory: those who still wait for its lock
// find it stale.
func (f *FS) drop(i *inode) {
	i.state.Store(inodeStale)
	s := f.inodes.shard(i.ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.table[i.ino] == i {
		delete(s.table, i.ino)
	}
}

// generation is a number that tells successive uses of an inode apart.
func (f *FS) generation() uint32 {
	z := f.generations.Add(0x9E3779B97F4A7C15)
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return uint32(z >> 32)
}
