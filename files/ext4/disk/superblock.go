package disk

import "math/bits"

// State bits of a superblock.
const (
	StateValid    = 1 // cleanly unmounted
	StateError    = 2 // errors were seen
	StateOrphanFS = 4 // orphans are being recovered
)

// Superblock flags (Flags).
const (
	FlagSignedHash   = 1
	FlagUnsignedHash = 2
)

// Encodings (Encoding, EncodingFlags).
const (
	EncodingUTF8   = 1 // of Unicode 12.1
	EncodingStrict = 1 // other names are refused
)

const creatorHurd = 1 // CreatorOS

// Superblock is the decoded superblock. Counts are in file-system blocks.
type Superblock struct {
	InodesCount      uint32
	BlocksCount      uint64
	ReservedBlocks   uint64
	FreeBlocks       uint64
	FreeInodes       uint32
	FirstDataBlock   uint32
	LogBlockSize     uint32 // block size is 1024 << LogBlockSize
	LogClusterSize   uint32
	BlocksPerGroup   uint32
	ClustersPerGroup uint32
	InodesPerGroup   uint32
	MountTime        uint64 // seconds
	WriteTime        uint64
	MountCount       uint16
	MaxMountCount    uint16
	State            uint16
	ErrorsBehaviour  uint16
	LastCheck        uint64
	CheckInterval    uint32
	CreatorOS        uint32 // whose layout the inodes have
	RevLevel         uint32
	FirstInode       uint32
	InodeSize        uint16
	BlockGroupNr     uint16
	FeatureCompat    uint32
	FeatureIncompat  uint32
	FeatureROCompat  uint32
	UUID             [16]byte
	VolumeName       [16]byte
	LastMounted      [64]byte
	ReservedGDT      uint16 // blocks kept for growing the descriptor table
	JournalUUID      [16]byte
	JournalInode     uint32
	JournalDev       uint32
	LastOrphan       uint32 // head of the on-disk orphan list
	HashSeed         [4]uint32
	DefaultHash      uint8
	JournalBackup    uint8
	DescSize         uint16
	DefaultMountOpts uint32
	FirstMetaBG      uint32
	MkfsTime         uint64
	JournalBlocks    [17]uint32
	MinExtraIsize    uint16
	WantExtraIsize   uint16
	Flags            uint32
	MMPBlock         uint64
	LogGroupsPerFlex uint8
	ChecksumType     uint8
	KBytesWritten    uint64
	ErrorCount       uint32
	FirstErrorTime   uint32 // seconds since the epoch, the low word
	LastErrorTime    uint32
	FirstError       ErrorRecord
	LastError        ErrorRecord
	BackupGroups     [2]uint32
	LostFoundInode   uint32
	ChecksumSeed     uint32
	OrphanFileInode  uint32
	Encoding         uint16    // of names that are compared without case: EncodingUTF8
	EncodingFlags    uint16    // EncodingStrict
	QuotaInodes      [3]uint32 // of users, groups and projects
	Checksum         uint32
}

// ErrorRecord says where an error was met.
type ErrorRecord struct {
	Ino   uint32
	Block uint64
	What  [32]byte // Linux: the function; here the structure
	Line  uint32   // Linux's
	Code  uint8    // see ErrorIO
}

// Codes of recorded errors.
const (
	ErrorIO        = 2
	ErrorCorrupted = 5
)

// Values of ErrorsBehaviour: what is done when damage is found.
const (
	ErrorsContinue = 1
	ErrorsReadOnly = 2
	ErrorsPanic    = 3
)

// DecodeSuperblock decodes and validates b, which must hold SuperblockSize
// bytes. It fails with a *CorruptError when the geometry is impossible or the
// checksum does not match; features are not judged here.
func DecodeSuperblock(b []byte) (*Superblock, error) {
	const what = "superblock"
	if len(b) < SuperblockSize {
		return nil, Corrupt(what, "device too small")
	}
	if le.Uint16(b[0x38:]) != Magic {
		return nil, Corrupt(what, "magic %#04x is not ext4's", le.Uint16(b[0x38:]))
	}
	s := &Superblock{}
	s.decode(b)
	if s.Has(0, 0, ROCompatMetadataCsum) {
		if s.ChecksumType != 1 {
			return nil, Corrupt(what, "checksum type %d is unknown", s.ChecksumType)
		}
		if got := CRC32C(^uint32(0), b[:0x3FC]); got != s.Checksum {
			return nil, Corrupt(what, "checksum %#08x, computed %#08x", s.Checksum, got)
		}
	}
	return s, s.validate()
}

func (s *Superblock) validate() error {
	const what = "superblock"
	if s.LogBlockSize > 6 {
		return Corrupt(what, "block size 2^%d", uint64(s.LogBlockSize)+10)
	}
	bs := uint64(s.BlockSize())
	if s.RevLevel > 1 {
		return Corrupt(what, "revision %d is unknown", s.RevLevel)
	}
	if s.FirstDataBlock > 1 || (bs > 1024 && s.FirstDataBlock != 0) {
		return Corrupt(what, "first data block %d", s.FirstDataBlock)
	}
	if s.FeatureROCompat&ROCompatBigalloc != 0 || s.FeatureIncompat&IncompatJournalDev != 0 {
		return s.CheckReadable() // what follows means something else, or nothing
	}
	if s.BlocksPerGroup == 0 || uint64(s.BlocksPerGroup) > 8*bs || s.BlocksPerGroup%8 != 0 {
		return Corrupt(what, "%d blocks per group", s.BlocksPerGroup)
	}
	if s.LogClusterSize != s.LogBlockSize || s.ClustersPerGroup != s.BlocksPerGroup {
		return Corrupt(what, "clusters of 2^%d bytes, %d per group, which need bigalloc", uint64(s.LogClusterSize)+10, s.ClustersPerGroup)
	}
	if s.InodeSize < 128 || uint64(s.InodeSize) > bs || bits.OnesCount16(s.InodeSize) != 1 {
		return Corrupt(what, "inode size %d", s.InodeSize)
	}
	if s.InodesPerGroup == 0 || uint64(s.InodesPerGroup) > 8*bs {
		return Corrupt(what, "%d inodes per group", s.InodesPerGroup)
	}
	if s.BlocksCount <= uint64(s.FirstDataBlock) || s.BlocksCount > 1<<48 {
		return Corrupt(what, "%d blocks", s.BlocksCount)
	}
	if ds := s.GroupDescSize(); ds < 32 || ds > int(bs) || bits.OnesCount(uint(ds)) != 1 || (s.Has(0, Incompat64Bit, 0) && ds < 64) {
		return Corrupt(what, "group descriptor size %d", ds)
	}
	if s.Has(CompatHasJournal, 0, 0) && s.JournalInode != 0 && s.JournalDev != 0 {
		return Corrupt(what, "a journal in inode %d, and another on device %#x", s.JournalInode, s.JournalDev)
	}
	if s.CreatorOS == creatorHurd && s.Has(0, Incompat64Bit, 0) {
		return Corrupt(what, "made for the Hurd, whose inodes have no room for blocks of 64 bits")
	}
	groups := s.Groups()
	if groups > 1<<32-1 || uint64(s.InodesCount) != groups*uint64(s.InodesPerGroup) {
		return Corrupt(what, "%d inodes in %d groups of %d", s.InodesCount, groups, s.InodesPerGroup)
	}
	if s.FirstInode < FirstIno || s.FirstInode > s.InodesCount {
		return Corrupt(what, "first inode %d", s.FirstInode)
	}
	if s.LogGroupsPerFlex > 31 {
		return Corrupt(what, "2^%d groups per flex group", s.LogGroupsPerFlex)
	}
	if uint64(s.ReservedGDT) > bs/4 {
		return Corrupt(what, "%d reserved descriptor blocks", s.ReservedGDT)
	}
	if s.Has(0, IncompatMetaBG, 0) && s.FirstMetaBG > s.DescBlocks() {
		return Corrupt(what, "first meta group %d, with %d descriptor blocks", s.FirstMetaBG, s.DescBlocks())
	}
	return nil
}

// Has reports whether all the given feature bits are set.
func (s *Superblock) Has(compat, incompat, roCompat uint32) bool {
	return s.FeatureCompat&compat == compat && s.FeatureIncompat&incompat == incompat && s.FeatureROCompat&roCompat == roCompat
}

// Special reports an inode that is the file system's own: no name leads to it,
// and users do not change it.
func (s *Superblock) Special(ino uint32) bool {
	switch {
	case ino < s.FirstInode:
		return ino != RootIno
	case s.Has(CompatOrphanFile, 0, 0) && ino == s.OrphanFileInode:
		return true
	}
	return s.Has(0, 0, ROCompatQuota) && (ino == s.QuotaInodes[0] || ino == s.QuotaInodes[1] || ino == s.QuotaInodes[2])
}

// MetadataCsum reports whether metadata carries crc32c checksums.
func (s *Superblock) MetadataCsum() bool { return s.FeatureROCompat&ROCompatMetadataCsum != 0 }

// BlockSize is in bytes.
func (s *Superblock) BlockSize() int { return 1024 << s.LogBlockSize }

// GroupDescSize is the size in bytes of one group descriptor.
func (s *Superblock) GroupDescSize() int {
	if s.FeatureIncompat&Incompat64Bit == 0 || s.DescSize == 0 {
		return 32
	}
	return int(s.DescSize)
}

// Groups is the number of block groups.
func (s *Superblock) Groups() uint64 {
	return (s.BlocksCount - uint64(s.FirstDataBlock) + uint64(s.BlocksPerGroup) - 1) / uint64(s.BlocksPerGroup)
}

// GroupStart is the first block of group g.
func (s *Superblock) GroupStart(g uint32) uint64 {
	return uint64(s.FirstDataBlock) + uint64(g)*uint64(s.BlocksPerGroup)
}

// GroupBlocks is the number of blocks of group g; only the last is shorter.
func (s *Superblock) GroupBlocks(g uint32) uint32 {
	return uint32(min(uint64(s.BlocksPerGroup), s.BlocksCount-s.GroupStart(g)))
}

// GroupOf returns the group of a block and its index there.
func (s *Superblock) GroupOf(block uint64) (g, index uint32) {
	n := block - uint64(s.FirstDataBlock)
	return uint32(n / uint64(s.BlocksPerGroup)), uint32(n % uint64(s.BlocksPerGroup))
}

// InodeTableBlocks is the length of each group's inode table.
func (s *Superblock) InodeTableBlocks() uint32 {
	bs := uint64(s.BlockSize())
	return uint32((uint64(s.InodesPerGroup)*uint64(s.InodeSize) + bs - 1) / bs)
}

// DescPerBlock is the number of group descriptors a block holds.
func (s *Superblock) DescPerBlock() uint32 { return uint32(s.BlockSize() / s.GroupDescSize()) }

// DescBlocks is the length of the whole descriptor table.
func (s *Superblock) DescBlocks() uint32 {
	per := uint64(s.DescPerBlock())
	return uint32((s.Groups() + per - 1) / per)
}

// Seed is the crc32c state all metadata checksums start from.
func (s *Superblock) Seed() uint32 {
	if s.FeatureIncompat&IncompatCsumSeed != 0 {
		return s.ChecksumSeed
	}
	return CRC32C(^uint32(0), s.UUID[:])
}

// HasSuper reports whether group g holds a copy of the superblock (and, without
// meta_bg, of the descriptor table).
func (s *Superblock) HasSuper(g uint32) bool {
	if g == 0 {
		return true
	}
	if s.FeatureCompat&CompatSparseSuper2 != 0 {
		return g == s.BackupGroups[0] || g == s.BackupGroups[1]
	}
	if g == 1 || s.FeatureROCompat&ROCompatSparseSuper == 0 {
		return true
	}
	if g%2 == 0 {
		return false
	}
	for _, base := range []uint32{3, 5, 7} {
		n := uint64(base)
		for n < uint64(g) {
			n *= uint64(base)
		}
		if n == uint64(g) {
			return true
		}
	}
	return false
}

// DescBlock is the device block holding the i-th block of the primary
// descriptor table.
func (s *Superblock) DescBlock(i uint32) uint64 {
	sb := uint64(s.FirstDataBlock)
	if s.FeatureIncompat&IncompatMetaBG == 0 || i < s.FirstMetaBG {
		return sb + 1 + uint64(i)
	}
	first := uint64(i) * uint64(s.DescPerBlock())
	start := uint64(s.FirstDataBlock) + first*uint64(s.BlocksPerGroup)
	if s.HasSuper(uint32(first)) {
		start++
	}
	return start
}

// GroupOverhead is the number of blocks at the start of group g taken by the
// superblock copy, the descriptor blocks and the reserved descriptor blocks.
func (s *Superblock) GroupOverhead(g uint32) uint32 {
	var n uint32
	super := s.HasSuper(g)
	if super {
		n++
	}
	meta := s.FeatureIncompat&IncompatMetaBG != 0
	per := s.DescPerBlock()
	if !meta || g/per < s.FirstMetaBG {
		if super {
			if meta {
				n += s.FirstMetaBG
			} else {
				n += s.DescBlocks() + uint32(s.ReservedGDT)
			}
		}
		return n
	}
	if first := g / per * per; g == first || g == first+1 || g == first+per-1 {
		n++
	}
	return n
}

// HashVersion is the directory hash to use for new indexes, with the
// signedness of the host that made the file system folded in.
func (s *Superblock) HashVersion(stored uint8) uint8 {
	if s.Flags&FlagUnsignedHash != 0 && stored <= HashTEA {
		return stored + 3
	}
	return stored
}
