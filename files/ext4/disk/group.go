package disk

// Group descriptor flags.
const (
	GroupInodeUninit = 1 // inode table and bitmap are not initialised
	GroupBlockUninit = 2 // block bitmap is not initialised
	GroupInodeZeroed = 4 // inode table is zeroed
)

// Group is a decoded group descriptor.
type Group struct {
	BlockBitmap     uint64 // device block
	InodeBitmap     uint64 // device block
	InodeTable      uint64 // first device block
	FreeBlocks      uint32
	FreeInodes      uint32
	UsedDirs        uint32
	ItableUnused    uint32 // inodes at the end of the table never used
	Flags           uint16
	BlockBitmapCsum uint32
	InodeBitmapCsum uint32
	Checksum        uint16
}

const groupChecksumOffset = 0x1E

// DecodeGroup decodes one descriptor of len(b) bytes (32, 64 or more).
func DecodeGroup(b []byte) Group {
	g := Group{
		BlockBitmap:     uint64(le.Uint32(b[0x0:])),
		InodeBitmap:     uint64(le.Uint32(b[0x4:])),
		InodeTable:      uint64(le.Uint32(b[0x8:])),
		FreeBlocks:      uint32(le.Uint16(b[0xC:])),
		FreeInodes:      uint32(le.Uint16(b[0xE:])),
		UsedDirs:        uint32(le.Uint16(b[0x10:])),
		Flags:           le.Uint16(b[0x12:]),
		BlockBitmapCsum: uint32(le.Uint16(b[0x18:])),
		InodeBitmapCsum: uint32(le.Uint16(b[0x1A:])),
		ItableUnused:    uint32(le.Uint16(b[0x1C:])),
		Checksum:        le.Uint16(b[0x1E:]),
	}
	if len(b) >= 64 {
		g.BlockBitmap |= uint64(le.Uint32(b[0x20:])) << 32
		g.InodeBitmap |= uint64(le.Uint32(b[0x24:])) << 32
		g.InodeTable |= uint64(le.Uint32(b[0x28:])) << 32
		g.FreeBlocks |= uint32(le.Uint16(b[0x2C:])) << 16
		g.FreeInodes |= uint32(le.Uint16(b[0x2E:])) << 16
		g.UsedDirs |= uint32(le.Uint16(b[0x30:])) << 16
		g.ItableUnused |= uint32(le.Uint16(b[0x32:])) << 16
		g.BlockBitmapCsum |= uint32(le.Uint16(b[0x38:])) << 16
		g.InodeBitmapCsum |= uint32(le.Uint16(b[0x3A:])) << 16
	}
	return g
}

// Encode writes g over b, the descriptor of group n, with its checksum.
func (g *Group) Encode(b []byte, s *Superblock, n uint32) {
	le.PutUint32(b[0x0:], uint32(g.BlockBitmap))
	le.PutUint32(b[0x4:], uint32(g.InodeBitmap))
	le.PutUint32(b[0x8:], uint32(g.InodeTable))
	le.PutUint16(b[0xC:], uint16(g.FreeBlocks))
	le.PutUint16(b[0xE:], uint16(g.FreeInodes))
	le.PutUint16(b[0x10:], uint16(g.UsedDirs))
	le.PutUint16(b[0x12:], g.Flags)
	le.PutUint16(b[0x18:], uint16(g.BlockBitmapCsum))
	le.PutUint16(b[0x1A:], uint16(g.InodeBitmapCsum))
	le.PutUint16(b[0x1C:], uint16(g.ItableUnused))
	if len(b) >= 64 {
		le.PutUint32(b[0x20:], uint32(g.BlockBitmap>>32))
		le.PutUint32(b[0x24:], uint32(g.InodeBitmap>>32))
		le.PutUint32(b[0x28:], uint32(g.InodeTable>>32))
		le.PutUint16(b[0x2C:], uint16(g.FreeBlocks>>16))
		le.PutUint16(b[0x2E:], uint16(g.FreeInodes>>16))
		le.PutUint16(b[0x30:], uint16(g.UsedDirs>>16))
		le.PutUint16(b[0x32:], uint16(g.ItableUnused>>16))
		le.PutUint16(b[0x38:], uint16(g.BlockBitmapCsum>>16))
		le.PutUint16(b[0x3A:], uint16(g.InodeBitmapCsum>>16))
	}
	g.Checksum = GroupChecksum(b, s, n)
	le.PutUint16(b[groupChecksumOffset:], g.Checksum)
}

// GroupChecksum computes the checksum of the encoded descriptor b of group n;
// it is zero on file systems without descriptor checksums.
func GroupChecksum(b []byte, s *Superblock, n uint32) uint16 {
	const after = groupChecksumOffset + 2
	switch {
	case s.MetadataCsum():
		c := CRC32CUint32(s.Seed(), n)
		c = CRC32C(c, b[:groupChecksumOffset])
		c = CRC32C(c, zeros[:2])
		return uint16(CRC32C(c, b[after:]))
	case s.FeatureROCompat&ROCompatGdtCsum != 0:
		var num [4]byte
		le.PutUint32(num[:], n)
		c := CRC16(^uint16(0), s.UUID[:])
		c = CRC16(c, num[:])
		c = CRC16(c, b[:groupChecksumOffset])
		return CRC16(c, b[after:])
	}
	return 0
}

// CheckGroup verifies the checksum of descriptor b and that the blocks it
// names lie on the device.
func CheckGroup(b []byte, s *Superblock, n uint32) error {
	const what = "group descriptor"
	g := DecodeGroup(b)
	if want := GroupChecksum(b, s, n); want != g.Checksum && (s.MetadataCsum() || s.FeatureROCompat&ROCompatGdtCsum != 0) {
		return Corrupt(what, "group %d: checksum %#04x, computed %#04x", n, g.Checksum, want)
	}
	lo, hi := uint64(s.FirstDataBlock), s.BlocksCount
	if s.FeatureIncompat&IncompatFlexBG == 0 {
		lo = s.GroupStart(n)
		hi = lo + uint64(s.GroupBlocks(n))
	}
	for _, p := range []struct {
		name  string
		first uint64
		n     uint64
	}{{"block bitmap", g.BlockBitmap, 1}, {"inode bitmap", g.InodeBitmap, 1}, {"inode table", g.InodeTable, uint64(s.InodeTableBlocks())}} {
		if p.first < lo || p.first == 0 || p.first >= hi || p.n > hi-p.first {
			return Corrupt(what, "group %d: %s at block %d", n, p.name, p.first)
		}
	}
	if g.ItableUnused > s.InodesPerGroup || g.FreeInodes > s.InodesPerGroup || g.FreeBlocks > s.BlocksPerGroup {
		return Corrupt(what, "group %d: counters exceed the group", n)
	}
	return nil
}

// BlockBitmapChecksum is the value a descriptor stores for a block bitmap: all
// 32 bits in wide descriptors, the low 16 in narrow ones.
func (s *Superblock) BlockBitmapChecksum(bitmap []byte) uint32 {
	return s.narrow(BitmapChecksum(s.Seed(), bitmap, s.BlocksPerGroup))
}

// InodeBitmapChecksum is the same for an inode bitmap.
func (s *Superblock) InodeBitmapChecksum(bitmap []byte) uint32 {
	return s.narrow(BitmapChecksum(s.Seed(), bitmap, s.InodesPerGroup))
}

func (s *Superblock) narrow(c uint32) uint32 {
	if s.GroupDescSize() < 64 {
		return c & 0xFFFF
	}
	return c
}
