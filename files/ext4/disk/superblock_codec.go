package disk

// decode fills s from the 1,024 bytes of a superblock.
func (s *Superblock) decode(b []byte) {
	u16 := func(o int) uint16 { return le.Uint16(b[o:]) }
	u32 := func(o int) uint32 { return le.Uint32(b[o:]) }
	s.InodesCount = u32(0x0)
	s.FirstDataBlock = u32(0x14)
	s.LogBlockSize = u32(0x18)
	s.LogClusterSize = u32(0x1C)
	s.BlocksPerGroup = u32(0x20)
	s.ClustersPerGroup = u32(0x24)
	s.InodesPerGroup = u32(0x28)
	s.MountCount = u16(0x34)
	s.MaxMountCount = u16(0x36)
	s.State = u16(0x3A)
	s.ErrorsBehaviour = u16(0x3C)
	s.CheckInterval = u32(0x44)
	s.CreatorOS = u32(0x48)
	s.RevLevel = u32(0x4C)
	s.FirstInode, s.InodeSize = FirstIno, 128
	if s.RevLevel > 0 {
		s.FirstInode = u32(0x54)
		s.InodeSize = u16(0x58)
		s.BlockGroupNr = u16(0x5A)
		s.FeatureCompat = u32(0x5C)
		s.FeatureIncompat = u32(0x60)
		s.FeatureROCompat = u32(0x64)
	}
	copy(s.UUID[:], b[0x68:])
	copy(s.VolumeName[:], b[0x78:])
	copy(s.LastMounted[:], b[0x88:])
	s.ReservedGDT = u16(0xCE)
	copy(s.JournalUUID[:], b[0xD0:])
	s.JournalInode = u32(0xE0)
	s.JournalDev = u32(0xE4)
	s.LastOrphan = u32(0xE8)
	for i := range s.HashSeed {
		s.HashSeed[i] = u32(0xEC + 4*i)
	}
	s.DefaultHash = b[0xFC]
	s.JournalBackup = b[0xFD]
	s.DescSize = u16(0xFE)
	s.DefaultMountOpts = u32(0x100)
	s.FirstMetaBG = u32(0x104)
	for i := range s.JournalBlocks {
		s.JournalBlocks[i] = u32(0x10C + 4*i)
	}
	s.BlocksCount, s.ReservedBlocks, s.FreeBlocks = uint64(u32(0x4)), uint64(u32(0x8)), uint64(u32(0xC))
	if s.FeatureIncompat&Incompat64Bit != 0 {
		s.BlocksCount |= uint64(u32(0x150)) << 32
		s.ReservedBlocks |= uint64(u32(0x154)) << 32
		s.FreeBlocks |= uint64(u32(0x158)) << 32
	}
	s.FreeInodes = u32(0x10)
	s.MinExtraIsize = u16(0x15C)
	s.WantExtraIsize = u16(0x15E)
	s.Flags = u32(0x160)
	s.MMPBlock = le.Uint64(b[0x168:])
	s.LogGroupsPerFlex = b[0x174]
	s.ChecksumType = b[0x175]
	s.KBytesWritten = le.Uint64(b[0x178:])
	s.ErrorCount = u32(0x194)
	s.FirstErrorTime = u32(0x198)
	s.LastErrorTime = u32(0x1CC)
	s.FirstError = ErrorRecord{Ino: u32(0x19C), Block: le.Uint64(b[0x1A0:]), What: [32]byte(b[0x1A8:]), Line: u32(0x1C8), Code: b[0x27A]}
	s.LastError = ErrorRecord{Ino: u32(0x1D0), Block: le.Uint64(b[0x1D8:]), What: [32]byte(b[0x1E0:]), Line: u32(0x1D4), Code: b[0x27B]}
	s.QuotaInodes = [3]uint32{u32(0x240), u32(0x244), u32(0x26C)}
	s.BackupGroups = [2]uint32{u32(0x24C), u32(0x250)}
	s.LostFoundInode = u32(0x268)
	s.ChecksumSeed = u32(0x270)
	s.MountTime = uint64(u32(0x2C)) | uint64(b[0x275])<<32
	s.WriteTime = uint64(u32(0x30)) | uint64(b[0x274])<<32
	s.MkfsTime = uint64(u32(0x108)) | uint64(b[0x276])<<32
	s.LastCheck = uint64(u32(0x40)) | uint64(b[0x277])<<32
	s.Encoding, s.EncodingFlags = u16(0x27C), u16(0x27E)
	s.OrphanFileInode = u32(0x280)
	s.Checksum = u32(0x3FC)
}

// Encode writes s over b (SuperblockSize bytes), leaving unknown fields as they
// are, and recomputes the checksum if the file system has them.
func (s *Superblock) Encode(b []byte) {
	p16 := func(o int, v uint16) { le.PutUint16(b[o:], v) }
	p32 := func(o int, v uint32) { le.PutUint32(b[o:], v) }
	p32(0x0, s.InodesCount)
	p32(0x4, uint32(s.BlocksCount))
	p32(0x8, uint32(s.ReservedBlocks))
	p32(0xC, uint32(s.FreeBlocks))
	p32(0x10, s.FreeInodes)
	p32(0x14, s.FirstDataBlock)
	p32(0x18, s.LogBlockSize)
	p32(0x1C, s.LogClusterSize)
	p32(0x20, s.BlocksPerGroup)
	p32(0x24, s.ClustersPerGroup)
	p32(0x28, s.InodesPerGroup)
	p32(0x2C, uint32(s.MountTime))
	p32(0x30, uint32(s.WriteTime))
	p16(0x34, s.MountCount)
	p16(0x36, s.MaxMountCount)
	p16(0x38, Magic)
	p16(0x3A, s.State)
	p16(0x3C, s.ErrorsBehaviour)
	p32(0x40, uint32(s.LastCheck))
	p32(0x44, s.CheckInterval)
	p32(0x48, s.CreatorOS)
	p32(0x4C, s.RevLevel)
	p32(0x54, s.FirstInode)
	p16(0x58, s.InodeSize)
	p16(0x5A, s.BlockGroupNr)
	p32(0x5C, s.FeatureCompat)
	p32(0x60, s.FeatureIncompat)
	p32(0x64, s.FeatureROCompat)
	copy(b[0x68:], s.UUID[:])
	copy(b[0x78:], s.VolumeName[:])
	copy(b[0x88:], s.LastMounted[:])
	p16(0xCE, s.ReservedGDT)
	copy(b[0xD0:], s.JournalUUID[:])
	p32(0xE0, s.JournalInode)
	p32(0xE4, s.JournalDev)
	p32(0xE8, s.LastOrphan)
	for i, v := range s.HashSeed {
		p32(0xEC+4*i, v)
	}
	b[0xFC] = s.DefaultHash
	b[0xFD] = s.JournalBackup
	p16(0xFE, s.DescSize)
	p32(0x100, s.DefaultMountOpts)
	p32(0x104, s.FirstMetaBG)
	p32(0x108, uint32(s.MkfsTime))
	for i, v := range s.JournalBlocks {
		p32(0x10C+4*i, v)
	}
	if s.FeatureIncompat&Incompat64Bit != 0 {
		p32(0x150, uint32(s.BlocksCount>>32))
		p32(0x154, uint32(s.ReservedBlocks>>32))
		p32(0x158, uint32(s.FreeBlocks>>32))
	}
	p16(0x15C, s.MinExtraIsize)
	p16(0x15E, s.WantExtraIsize)
	p32(0x160, s.Flags)
	b[0x174] = s.LogGroupsPerFlex
	b[0x175] = s.ChecksumType
	le.PutUint64(b[0x178:], s.KBytesWritten)
	p32(0x194, s.ErrorCount)
	p32(0x198, s.FirstErrorTime)
	p32(0x1CC, s.LastErrorTime)
	p32(0x19C, s.FirstError.Ino)
	le.PutUint64(b[0x1A0:], s.FirstError.Block)
	copy(b[0x1A8:], s.FirstError.What[:])
	p32(0x1C8, s.FirstError.Line)
	b[0x27A] = s.FirstError.Code
	p32(0x1D0, s.LastError.Ino)
	le.PutUint64(b[0x1D8:], s.LastError.Block)
	copy(b[0x1E0:], s.LastError.What[:])
	p32(0x1D4, s.LastError.Line)
	b[0x27B] = s.LastError.Code
	p32(0x240, s.QuotaInodes[0])
	p32(0x244, s.QuotaInodes[1])
	p32(0x26C, s.QuotaInodes[2])
	p32(0x24C, s.BackupGroups[0])
	p32(0x250, s.BackupGroups[1])
	p32(0x268, s.LostFoundInode)
	p32(0x270, s.ChecksumSeed)
	b[0x274] = byte(s.WriteTime >> 32)
	b[0x275] = byte(s.MountTime >> 32)
	b[0x276] = byte(s.MkfsTime >> 32)
	b[0x277] = byte(s.LastCheck >> 32)
	p16(0x27C, s.Encoding)
	p16(0x27E, s.EncodingFlags)
	p32(0x280, s.OrphanFileInode)
	if s.MetadataCsum() {
		s.Checksum = CRC32C(^uint32(0), b[:0x3FC])
		p32(0x3FC, s.Checksum)
	}
}
