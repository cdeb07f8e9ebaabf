package ext4

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/storage"
)

// FormatOptions configure Format. The zero value is what mkfs.ext4 does by
// default, but for room to grow the descriptor table, which meta_bg replaces.
type FormatOptions struct {
	BlockSize       int      // bytes: 1024, 2048 or 4096; 0 means 4096
	BytesPerInode   int64    // one inode per so many bytes of volume; 0 means 16384
	JournalBlocks   uint32   // 0: by the size of the volume
	ReservedPercent float64  // of the blocks, for the superuser; negative means none, 0 means 5
	Label           string   // at most 16 bytes
	UUID            [16]byte // zero: random
	HashSeed        [16]byte // of directory hashes; zero: random
	Now             time.Time
	// Zeroed says that the volume reads as zeros, so that journal and inode
	// tables need no clearing.
	Zeroed bool
}

const (
	formatInodeSize    = 256
	formatExtraIsize   = 32
	formatFlexLog      = 4  // 16 groups share a place for bitmaps and inode tables
	formatLastGroupMin = 50 // blocks of data without which a last group is left out
	journalBlocksMin   = 1024
	lostFoundBytes     = 16 << 10
	lostFoundIno       = disk.FirstIno
)

// Format makes an empty file system on v, whatever was there. Group bitmaps
// and inode tables are left to be initialised when they are first used, so
// that large volumes are made quickly.
//
// Errors: KindInvalid for impossible options; KindNoSpace when the volume is
// too small; errors of the volume, after which it holds nothing usable.
func Format(v storage.Volume, o FormatOptions) error {
	m, err := newFormat(v, o)
	if err != nil {
		return err
	}
	if err := m.write(); err != nil {
		return fmt.Errorf("ext4: making a file system: %w", err)
	}
	return nil
}

// format is a file system being laid out. The used blocks of each group are a
// prefix of it, since everything is allocated in order.
type format struct {
	v       storage.Volume
	o       FormatOptions
	sb      disk.Superblock
	bs      int
	flex    uint32            // groups per flex group
	extra   map[uint32]uint32 // blocks used in a group beyond its metadata
	cursor  uint32            // group allocated from
	now     disk.Time
	journal []disk.Extent
	leaf    uint64 // block of the journal's extents, when the inode has no room
	rootDir uint64
	lostDir []disk.Extent
}

func newFormat(v storage.Volume, o FormatOptions) (*format, error) {
	if o.BlockSize == 0 {
		o.BlockSize = 4096
	}
	if o.BytesPerInode == 0 {
		o.BytesPerInode = 16384
	}
	if o.ReservedPercent == 0 {
		o.ReservedPercent = 5
	}
	logSize := map[int]uint32{1024: 0, 2048: 1, 4096: 2}
	log, ok := logSize[o.BlockSize]
	if !ok || o.BlockSize < v.BlockSize() || len(o.Label) > 16 || o.ReservedPercent > 50 || o.BytesPerInode < int64(formatInodeSize) {
		return nil, refuse(KindInvalid, "format", 0, "")
	}
	if o.UUID == [16]byte{} {
		rand.Read(o.UUID[:])
		o.UUID[6], o.UUID[8] = o.UUID[6]&0x0F|0x40, o.UUID[8]&0x3F|0x80
	}
	if o.HashSeed == [16]byte{} {
		rand.Read(o.HashSeed[:])
	}
	m := &format{v: v, o: o, bs: o.BlockSize, flex: 1 << formatFlexLog, extra: map[uint32]uint32{}, now: disk.TimeOf(o.Now)}
	sb := &m.sb
	*sb = disk.Superblock{
		LogBlockSize: log, LogClusterSize: log, RevLevel: 1, FirstInode: disk.FirstIno, InodeSize: formatInodeSize,
		BlocksPerGroup: uint32(8 * m.bs), ClustersPerGroup: uint32(8 * m.bs), BlocksCount: uint64(v.Size()) / uint64(m.bs),
		MaxMountCount: 0xFFFF, State: disk.StateValid, ErrorsBehaviour: 1,
		FeatureCompat:   disk.CompatHasJournal | disk.CompatExtAttr | disk.CompatDirIndex,
		FeatureIncompat: disk.IncompatFiletype | disk.IncompatExtents | disk.Incompat64Bit | disk.IncompatFlexBG,
		FeatureROCompat: disk.ROCompatSparseSuper | disk.ROCompatLargeFile | disk.ROCompatHugeFile | disk.ROCompatDirNlink |
			disk.ROCompatExtraIsize | disk.ROCompatMetadataCsum,
		UUID: o.UUID, DefaultHash: disk.HashHalfMD4, Flags: disk.FlagSignedHash, DescSize: 64, DefaultMountOpts: 0xC,
		MinExtraIsize: formatExtraIsize, WantExtraIsize: formatExtraIsize, LogGroupsPerFlex: formatFlexLog, ChecksumType: 1,
		JournalInode: disk.JournalIno, LostFoundInode: 0,
		MkfsTime: uint64(m.now.Sec), WriteTime: uint64(m.now.Sec), LastCheck: uint64(m.now.Sec),
	}
	if m.bs == 1024 {
		sb.FirstDataBlock = 1
	}
	copy(sb.VolumeName[:], o.Label)
	for i := range sb.HashSeed {
		sb.HashSeed[i] = binary.LittleEndian.Uint32(o.HashSeed[4*i:])
	}
	return m, m.plan()
}

// plan decides the numbers of groups and inodes and where everything is.
func (m *format) plan() error {
	sb := &m.sb
	small := refuse(KindNoSpace, "format", 0, "")
	if sb.BlocksCount > 1<<32-1 && m.bs == 1024 || sb.BlocksCount >= 1<<48 {
		return refuse(KindInvalid, "format", 0, "")
	}
	perBlock := uint64(m.bs / formatInodeSize)
	per := uint64(sb.BlocksPerGroup) * uint64(m.bs) / uint64(m.o.BytesPerInode)
	if sb.BlocksCount <= uint64(sb.FirstDataBlock)+formatLastGroupMin {
		return small
	}
	if g := sb.Groups(); g*per > 1<<32-1-perBlock*g {
		per = (1<<32 - 1) / g / perBlock * perBlock
	}
	if sb.Groups() == 1 {
		per = (sb.BlocksCount - uint64(sb.FirstDataBlock)) * uint64(m.bs) / uint64(m.o.BytesPerInode)
	}
	unit := max(perBlock, 8)
	per = min((max(per, 16)+unit-1)/unit*unit, uint64(8*m.bs))
	sb.InodesPerGroup = uint32(per)
	table := sb.InodeTableBlocks()
	for m.flex > 1 && uint64(m.flex)*uint64(2+table) > uint64(sb.BlocksPerGroup)/2 {
		m.flex /= 2
		sb.LogGroupsPerFlex--
	}
	if last := uint32(sb.Groups() - 1); sb.GroupBlocks(last) < sb.GroupOverhead(last)+2+table+formatLastGroupMin {
		if last == 0 {
			return small
		}
		sb.BlocksCount = sb.GroupStart(last)
	}
	sb.InodesCount = uint32(sb.Groups() * per)
	sb.FreeInodes = sb.InodesCount - lostFoundIno
	if m.o.ReservedPercent > 0 {
		sb.ReservedBlocks = uint64(float64(sb.BlocksCount) * m.o.ReservedPercent / 100)
	}
	root, err := m.allocate(1)
	if err != nil {
		return err
	}
	m.rootDir = root[0].Physical
	if m.lostDir, err = m.allocate(uint32(lostFoundBytes / m.bs)); err != nil {
		return err
	}
	if m.o.JournalBlocks == 0 {
		m.o.JournalBlocks = defaultJournalBlocks(sb.BlocksCount)
	}
	if m.o.JournalBlocks < journalBlocksMin {
		return small
	}
	if m.journal, err = m.allocate(m.o.JournalBlocks); err != nil {
		return err
	}
	if len(m.journal) > disk.InodeExtentsMax {
		leaf, err := m.allocate(1)
		if err != nil {
			return err
		}
		m.leaf = leaf[0].Physical
	}
	return nil
}

// defaultJournalBlocks follows mke2fs: larger volumes get longer journals.
func defaultJournalBlocks(blocks uint64) uint32 {
	switch k := blocks >> 10; {
	case k < 32:
		return journalBlocksMin
	case k < 256:
		return 4096
	case k < 512:
		return 8192
	case k < 4096:
		return 16384
	case k < 8192:
		return 32768
	case k < 16384:
		return 65536
	case k < 32768:
		return 131072
	}
	return 262144
}

// flexGroups is the number of groups in the flex group of g, and its first.
func (m *format) flexGroups(g uint32) (first, n uint32) {
	first = g / m.flex * m.flex
	return first, uint32(min(uint64(m.flex), m.sb.Groups()-uint64(first)))
}

// used is the number of blocks in use at the start of group g.
func (m *format) used(g uint32) uint32 {
	n := m.sb.GroupOverhead(g) + m.extra[g]
	if first, count := m.flexGroups(g); first == g {
		n += count * (2 + m.sb.InodeTableBlocks())
	}
	return n
}

// allocate takes n blocks, in as few extents as the metadata in between allows.
func (m *format) allocate(n uint32) ([]disk.Extent, error) {
	var out []disk.Extent
	logical := uint32(0)
	for n > 0 {
		if uint64(m.cursor) >= m.sb.Groups() {
			return nil, refuse(KindNoSpace, "format", 0, "")
		}
		used := m.used(m.cursor)
		take := min(n, m.sb.GroupBlocks(m.cursor)-used)
		if take == 0 {
			m.cursor++
			continue
		}
		m.extra[m.cursor] += take
		start := m.sb.GroupStart(m.cursor) + uint64(used)
		for t := take; t > 0; {
			if k := len(out) - 1; k >= 0 && out[k].Physical+uint64(out[k].Len) == start && out[k].Len < disk.ExtentLenMax {
				l := min(t, disk.ExtentLenMax-out[k].Len)
				out[k].Len += l
				start, t, logical = start+uint64(l), t-l, logical+l
				continue
			}
			out = append(out, disk.Extent{Logical: logical, Physical: start})
		}
		n -= take
	}
	return out, nil
}
