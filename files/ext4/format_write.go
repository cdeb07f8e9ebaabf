package ext4

import (
	"encoding/binary"

	"github.com/quintet-os/quintet/files/ext4/disk"
)

// write stores the layout, the superblock last, so that an interrupted Format
// leaves nothing that mounts.
func (m *format) write() error {
	if err := m.zero(0, uint64(m.sb.FirstDataBlock)+1); err != nil {
		return err
	}
	table, err := m.writeGroups()
	if err != nil {
		return err
	}
	if err := m.writeInodes(); err != nil {
		return err
	}
	if err := m.writeJournal(); err != nil {
		return err
	}
	if err := m.writeSupers(table); err != nil {
		return err
	}
	return m.v.Flush()
}

func (m *format) block(n uint64, p []byte) error {
	_, err := m.v.WriteAt(p, int64(n)*int64(m.bs))
	return err
}

func (m *format) zero(n, count uint64) error {
	return m.v.WriteZeroes(int64(n)*int64(m.bs), int64(count)*int64(m.bs))
}

// writeGroups writes the bitmaps that cannot be left uninitialised and returns
// the encoded descriptor table.
func (m *format) writeGroups() ([]byte, error) {
	sb := &m.sb
	size := sb.GroupDescSize()
	table := make([]byte, int(sb.DescBlocks())*m.bs)
	itable := sb.InodeTableBlocks()
	bitmap := make([]byte, m.bs)
	for n := range uint32(sb.Groups()) {
		first, count := m.flexGroups(n)
		base := sb.GroupStart(first) + uint64(sb.GroupOverhead(first))
		i := uint64(n - first)
		g := disk.Group{
			BlockBitmap: base + i,
			InodeBitmap: base + uint64(count) + i,
			InodeTable:  base + 2*uint64(count) + i*uint64(itable),
			FreeInodes:  sb.InodesPerGroup, ItableUnused: sb.InodesPerGroup,
			Flags: disk.GroupInodeUninit,
		}
		if m.o.Zeroed {
			g.Flags |= disk.GroupInodeZeroed
		}
		used := m.used(n)
		blocks := sb.GroupBlocks(n)
		g.FreeBlocks = blocks - used
		sb.FreeBlocks += uint64(g.FreeBlocks)
		// e2fsck wants the last group's bitmap written, full as the group may be.
		if used == sb.GroupOverhead(n) && uint64(n) != sb.Groups()-1 {
			g.Flags |= disk.GroupBlockUninit
		} else {
			clear(bitmap)
			setBits(bitmap, 0, int(used))
			setBits(bitmap, int(blocks), 8*m.bs)
			g.BlockBitmapCsum = sb.BlockBitmapChecksum(bitmap)
			if err := m.block(g.BlockBitmap, bitmap); err != nil {
				return nil, err
			}
		}
		if n == 0 {
			g.Flags = g.Flags&^disk.GroupInodeUninit | disk.GroupInodeZeroed
			g.FreeInodes -= lostFoundIno
			g.ItableUnused = g.FreeInodes
			g.UsedDirs = 2
			clear(bitmap)
			setBits(bitmap, 0, lostFoundIno)
			setBits(bitmap, int(sb.InodesPerGroup), 8*m.bs)
			g.InodeBitmapCsum = sb.InodeBitmapChecksum(bitmap)
			if err := m.block(g.InodeBitmap, bitmap); err != nil {
				return nil, err
			}
			if err := m.zero(g.InodeTable, uint64(itable)); err != nil {
				return nil, err
			}
		}
		g.Encode(table[int(n)*size:(int(n)+1)*size], sb, n)
	}
	return table, nil
}

// setBits sets the bits from lo to hi of a bitmap.
func setBits(p []byte, lo, hi int) {
	for ; lo < hi && lo&7 != 0; lo++ {
		p[lo>>3] |= 1 << (lo & 7)
	}
	for ; lo+8 <= hi; lo += 8 {
		p[lo>>3] = 0xFF
	}
	for ; lo < hi; lo++ {
		p[lo>>3] |= 1 << (lo & 7)
	}
}

// writeInodes writes the root directory, lost+found and the journal's inode.
func (m *format) writeInodes() error {
	sb := &m.sb
	perBlock := m.bs / formatInodeSize
	raw := make([]byte, (lostFoundIno+perBlock-1)/perBlock*m.bs)
	slot := func(ino int) []byte { return raw[(ino-1)*formatInodeSize : ino*formatInodeSize] }
	inode := func(mode uint16, links uint16, x []disk.Extent, leaf uint64) *disk.Inode {
		d := &disk.Inode{Mode: mode, Links: links, Flags: disk.FlagExtents, ExtraIsize: formatExtraIsize,
			Atime: m.now, Ctime: m.now, Mtime: m.now, Crtime: m.now}
		root := disk.InitExtentNode(d.Block[:], 0, true)
		blocks := uint64(x[len(x)-1].End())
		d.Size = blocks * uint64(m.bs)
		if leaf != 0 {
			blocks++
			root.SetDepth(1)
			root.Insert(0)
			root.SetChild(0, 0, leaf)
		} else {
			for i, e := range x {
				root.Insert(i)
				root.SetExtent(i, e)
			}
		}
		d.Blocks = blocks * uint64(m.bs/512)
		return d
	}
	rootX := []disk.Extent{{Len: 1, Physical: m.rootDir}}
	inode(disk.ModeDir|0o755, 3, rootX, 0).Encode(slot(disk.RootIno), sb, disk.RootIno)
	inode(disk.ModeDir|0o700, 2, m.lostDir, 0).Encode(slot(lostFoundIno), sb, lostFoundIno)
	j := inode(disk.ModeRegular|0o600, 1, m.journal, m.leaf)
	j.Encode(slot(disk.JournalIno), sb, disk.JournalIno)
	for i := range 15 {
		sb.JournalBlocks[i] = binary.LittleEndian.Uint32(j.Block[4*i:])
	}
	sb.JournalBlocks[15], sb.JournalBlocks[16] = uint32(j.Size>>32), uint32(j.Size)
	sb.JournalBackup = 1
	_, count := m.flexGroups(0)
	if err := m.block(sb.GroupStart(0)+uint64(sb.GroupOverhead(0))+2*uint64(count), raw); err != nil {
		return err
	}
	return m.writeDirs()
}

func (m *format) writeDirs() error {
	sb := &m.sb
	end := disk.DirentsEnd(sb)
	p := make([]byte, m.bs)
	disk.PutDirent(p, 0, 12, disk.RootIno, disk.TypeDir, ".", sb)
	disk.PutDirent(p, 12, 12, disk.RootIno, disk.TypeDir, "..", sb)
	disk.PutDirent(p, 24, end-24, lostFoundIno, disk.TypeDir, "lost+found", sb)
	disk.InitDirTail(p, sb)
	disk.SealDirLeaf(p, sb, disk.InodeSeed(sb.Seed(), disk.RootIno, 0))
	if err := m.block(m.rootDir, p); err != nil {
		return err
	}
	for _, x := range m.lostDir {
		for i := range x.Len {
			clear(p)
			if x.Logical+i == 0 {
				disk.PutDirent(p, 0, 12, lostFoundIno, disk.TypeDir, ".", sb)
				disk.PutDirent(p, 12, end-12, disk.RootIno, disk.TypeDir, "..", sb)
			} else {
				disk.PutDirent(p, 0, end, 0, 0, "", sb)
			}
			disk.InitDirTail(p, sb)
			disk.SealDirLeaf(p, sb, disk.InodeSeed(sb.Seed(), lostFoundIno, 0))
			if err := m.block(x.Physical+uint64(i), p); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeJournal clears the log, so that nothing an earlier file system left can
// be taken for a transaction, and writes its superblock.
func (m *format) writeJournal() error {
	if !m.o.Zeroed {
		for _, x := range m.journal {
			if err := m.zero(x.Physical, uint64(x.Len)); err != nil {
				return err
			}
		}
	}
	const (
		magic        = 0xC03B3998
		superblockV2 = 4
	)
	p := make([]byte, m.bs)
	be := binary.BigEndian
	be.PutUint32(p[0x0:], magic)
	be.PutUint32(p[0x4:], superblockV2)
	be.PutUint32(p[0xC:], uint32(m.bs))
	be.PutUint32(p[0x10:], m.o.JournalBlocks)
	be.PutUint32(p[0x14:], 1) // first block of the log
	be.PutUint32(p[0x18:], 1) // first sequence number
	copy(p[0x30:], m.sb.UUID[:])
	be.PutUint32(p[0x40:], 1) // users
	if err := m.block(m.journal[0].Physical, p); err != nil {
		return err
	}
	if m.leaf == 0 {
		return nil
	}
	clear(p)
	leaf := disk.InitExtentNode(p[:m.bs-4], 0, false)
	for i, x := range m.journal {
		leaf.Insert(i)
		leaf.SetExtent(i, x)
	}
	if m.sb.MetadataCsum() {
		disk.SealExtentNode(p, disk.InodeSeed(m.sb.Seed(), disk.JournalIno, 0))
	}
	return m.block(m.leaf, p)
}

// writeSupers writes the backups of superblock and descriptors, then the
// primary ones.
func (m *format) writeSupers(table []byte) error {
	sb := &m.sb
	raw := make([]byte, disk.SuperblockSize)
	p := make([]byte, m.bs)
	for g := uint32(sb.Groups() - 1); ; g-- {
		if sb.HasSuper(g) {
			if err := m.block(sb.GroupStart(g)+1, table); err != nil {
				return err
			}
			if g == 0 {
				break
			}
			sb.BlockGroupNr = uint16(g)
			sb.Encode(raw)
			copy(p, raw)
			if err := m.block(sb.GroupStart(g), p); err != nil {
				return err
			}
		}
	}
	if err := m.v.Flush(); err != nil {
		return err
	}
	sb.BlockGroupNr = 0
	sb.Encode(raw)
	clear(p)
	copy(p[disk.SuperblockOffset%m.bs:], raw)
	return m.block(disk.SuperblockOffset/uint64(m.bs), p)
}
