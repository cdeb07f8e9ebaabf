package disk

// File type bits of Mode.
const (
	ModeFIFO    = 0x1000
	ModeChar    = 0x2000
	ModeDir     = 0x4000
	ModeBlock   = 0x6000
	ModeRegular = 0x8000
	ModeSymlink = 0xA000
	ModeSocket  = 0xC000
	ModeType    = 0xF000
)

// Inode flags.
const (
	FlagImmutable  = 0x10
	FlagAppend     = 0x20
	FlagIndex      = 0x1000 // directory has an htree
	FlagHugeFile   = 0x40000
	FlagExtents    = 0x80000
	FlagEAInode    = 0x200000
	FlagInlineData = 0x10000000
	FlagEncrypt    = 0x800
	FlagVerity     = 0x100000
	FlagSync       = 0x8
	FlagNoDump     = 0x40
	FlagNoAtime    = 0x80
	FlagDirSync    = 0x10000
	FlagProject    = 0x20000000 // what is made in the directory is of its project
	FlagCasefold   = 0x40000000

	// flagsInherited are also: secure deletion and undeletion, compression and its
	// absence, journalled data, no merging of tails, and DAX.
	flagsInherited = FlagSync | FlagNoDump | FlagNoAtime | FlagDirSync | FlagProject | FlagCasefold |
		0x1 | 0x2 | 0x4 | 0x400 | 0x4000 | 0x8000 | 0x2000000
)

// InheritedFlags are the flags that an inode of the given mode gets from its
// directory.
func InheritedFlags(mode uint16, dir uint32) uint32 {
	flags := dir & flagsInherited
	switch mode & ModeType {
	case ModeDir:
	case ModeRegular:
		flags &^= FlagDirSync | FlagCasefold | FlagProject
	default:
		flags &= FlagNoDump | FlagNoAtime
	}
	return flags
}

// Inode is a decoded inode.
type Inode struct {
	Mode       uint16
	UID, GID   uint32
	Size       uint64
	Links      uint16
	Blocks     uint64 // in units of 512 bytes, or of blocks with FlagHugeFile
	Flags      uint32
	Version    uint64
	Generation uint32
	FileACL    uint64 // block of extended attributes, or 0
	Block      [60]byte
	Atime      Time
	Ctime      Time
	Mtime      Time
	Crtime     Time
	Dtime      uint32 // deletion time, or the next orphan
	ExtraIsize uint16 // bytes beyond the first 128 used by fixed fields
	ProjectID  uint32
}

// ProjectExtra is the least ExtraIsize of an inode that has a project.
const ProjectExtra = 32

// FarACL reports whether slot b of an inode says, in the part that counts on
// volumes of 64 bits only, that its attribute block lies beyond 2^32.
func FarACL(b []byte) bool { return le.Uint16(b[0x76:]) != 0 }

// Type is the file type of i, one of the Mode constants.
func (i *Inode) Type() uint16 { return i.Mode & ModeType }

// IsDir and its fellows name the file type.
func (i *Inode) IsDir() bool { return i.Type() == ModeDir }

// IsRegular reports a regular file.
func (i *Inode) IsRegular() bool { return i.Type() == ModeRegular }

// IsSymlink reports a symbolic link.
func (i *Inode) IsSymlink() bool { return i.Type() == ModeSymlink }

// Has reports whether all of flags are set.
func (i *Inode) Has(flags uint32) bool { return i.Flags&flags == flags }

// FastSymlink reports whether the target of symlink i is held in the inode.
func (i *Inode) FastSymlink(blockSize int) bool {
	if !i.IsSymlink() || i.Has(FlagInlineData) {
		return false
	}
	var acl uint64
	if i.FileACL != 0 {
		acl = uint64(blockSize >> 9)
	}
	return i.Blocks == acl
}

// HasBlocks reports whether i maps blocks through Block.
func (i *Inode) HasBlocks(blockSize int) bool {
	if i.Has(FlagInlineData) {
		return false
	}
	switch i.Type() {
	case ModeRegular, ModeDir:
		return true
	case ModeSymlink:
		return !i.FastSymlink(blockSize)
	}
	return false
}

// Device returns the major and minor numbers of a device node.
func (i *Inode) Device() (major, minor uint32) {
	if v := le.Uint32(i.Block[:]); v != 0 {
		return v >> 8 & 0xFF, v & 0xFF
	}
	v := le.Uint32(i.Block[4:])
	return v & 0xFFF00 >> 8, v&0xFF | v>>12&0xFFF00
}

// SetDevice stores the numbers of a device node.
func (i *Inode) SetDevice(major, minor uint32) {
	i.Block = [60]byte{}
	if major < 256 && minor < 256 {
		le.PutUint32(i.Block[:], major<<8|minor)
		return
	}
	le.PutUint32(i.Block[4:], minor&0xFF|major<<8|(minor&^0xFF)<<12)
}

// DecodeInode decodes the slot b (inode size bytes) of inode ino and verifies
// its checksum and the bounds of its extra fields.
func DecodeInode(b []byte, s *Superblock, ino uint32) (*Inode, error) {
	i := &Inode{
		Mode:       le.Uint16(b[0x0:]),
		UID:        uint32(le.Uint16(b[0x2:])) | uint32(le.Uint16(b[0x78:]))<<16,
		GID:        uint32(le.Uint16(b[0x18:])) | uint32(le.Uint16(b[0x7A:]))<<16,
		Size:       uint64(le.Uint32(b[0x4:])),
		Links:      le.Uint16(b[0x1A:]),
		Blocks:     uint64(le.Uint32(b[0x1C:])),
		Flags:      le.Uint32(b[0x20:]),
		Version:    uint64(le.Uint32(b[0x24:])),
		Generation: le.Uint32(b[0x64:]),
		FileACL:    uint64(le.Uint32(b[0x68:])),
		Dtime:      le.Uint32(b[0x14:]),
	}
	copy(i.Block[:], b[0x28:])
	if i.IsRegular() || s.Has(0, IncompatLargeDir, 0) && i.IsDir() {
		i.Size |= uint64(le.Uint32(b[0x6C:])) << 32
	}
	if s.Has(0, 0, ROCompatHugeFile) {
		i.Blocks |= uint64(le.Uint16(b[0x74:])) << 32
	}
	if s.Has(0, Incompat64Bit, 0) {
		i.FileACL |= uint64(le.Uint16(b[0x76:])) << 32
	}
	if len(b) > 128 {
		i.ExtraIsize = le.Uint16(b[0x80:])
		if int(i.ExtraIsize) > len(b)-128 || i.ExtraIsize&3 != 0 {
			return nil, &CorruptError{Structure: "inode", Ino: ino, Detail: "extra size exceeds the inode"}
		}
	}
	extra := func(off int) uint32 {
		if off+4 <= 128+int(i.ExtraIsize) {
			return le.Uint32(b[off:])
		}
		return 0
	}
	i.Atime = decodeTime(le.Uint32(b[0x8:]), extra(0x8C))
	i.Ctime = decodeTime(le.Uint32(b[0xC:]), extra(0x84))
	i.Mtime = decodeTime(le.Uint32(b[0x10:]), extra(0x88))
	i.Crtime = decodeTime(extra(0x90), extra(0x94))
	i.Version |= uint64(extra(0x98)) << 32
	i.ProjectID = extra(0x9C)
	if s.MetadataCsum() && !zeroSlot(b) {
		want := inodeChecksum(b, s, ino, i.Generation)
		got := uint32(le.Uint16(b[0x7C:]))
		if i.ExtraIsize >= 4 {
			got |= uint32(le.Uint16(b[0x82:])) << 16
		} else {
			want &= 0xFFFF
		}
		if got != want {
			return nil, &CorruptError{Structure: "inode", Ino: ino, Detail: "checksum does not match"}
		}
	}
	return i, nil
}

// zeroSlot reports an inode never written: it has no checksum.
func zeroSlot(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// Encode writes i over its slot b, with its checksum. In-inode attributes
// beyond the extra fields are left as they are. The times of i become what the
// slot can hold: whole seconds, when it has no extra fields.
func (i *Inode) Encode(b []byte, s *Superblock, ino uint32) {
	le.PutUint16(b[0x0:], i.Mode)
	le.PutUint16(b[0x2:], uint16(i.UID))
	le.PutUint16(b[0x78:], uint16(i.UID>>16))
	le.PutUint16(b[0x18:], uint16(i.GID))
	le.PutUint16(b[0x7A:], uint16(i.GID>>16))
	le.PutUint32(b[0x4:], uint32(i.Size))
	le.PutUint32(b[0x14:], i.Dtime)
	le.PutUint16(b[0x1A:], i.Links)
	le.PutUint32(b[0x1C:], uint32(i.Blocks))
	le.PutUint32(b[0x20:], i.Flags)
	le.PutUint32(b[0x24:], uint32(i.Version))
	copy(b[0x28:], i.Block[:])
	le.PutUint32(b[0x64:], i.Generation)
	le.PutUint32(b[0x68:], uint32(i.FileACL))
	if i.IsRegular() || s.Has(0, IncompatLargeDir, 0) && i.IsDir() {
		le.PutUint32(b[0x6C:], uint32(i.Size>>32))
	} else {
		le.PutUint32(b[0x6C:], 0)
	}
	if s.Has(0, 0, ROCompatHugeFile) {
		le.PutUint16(b[0x74:], uint16(i.Blocks>>32))
	}
	if s.Has(0, Incompat64Bit, 0) {
		le.PutUint16(b[0x76:], uint16(i.FileACL>>32))
	}
	putExtra := func(off int, v uint32) {
		if off+4 <= 128+int(i.ExtraIsize) {
			le.PutUint32(b[off:], v)
		}
	}
	if len(b) > 128 {
		le.PutUint16(b[0x80:], i.ExtraIsize)
	}
	put := func(loOff, extraOff int, t *Time) {
		lo, extra := t.encode(extraOff+4 <= 128+int(i.ExtraIsize))
		*t = decodeTime(lo, extra)
		switch {
		case loOff < 128:
			le.PutUint32(b[loOff:], lo)
		case loOff+4 <= 128+int(i.ExtraIsize):
			putExtra(loOff, lo)
		default:
			*t = Time{}
		}
		putExtra(extraOff, extra)
	}
	put(0x8, 0x8C, &i.Atime)
	put(0xC, 0x84, &i.Ctime)
	put(0x10, 0x88, &i.Mtime)
	put(0x90, 0x94, &i.Crtime)
	putExtra(0x98, uint32(i.Version>>32))
	putExtra(0x9C, i.ProjectID)
	sealInode(b, s, ino)
}

func inodeChecksum(b []byte, s *Superblock, ino, generation uint32) uint32 {
	c := InodeSeed(s.Seed(), ino, generation)
	c = CRC32C(c, b[:0x7C])
	c = CRC32C(c, zeros[:2])
	c = CRC32C(c, b[0x7E:128])
	if len(b) > 128 {
		c = CRC32C(c, b[128:0x82])
		rest := b[0x82:]
		if le.Uint16(b[0x80:]) >= 4 {
			c = CRC32C(c, zeros[:2])
			rest = rest[2:]
		}
		c = CRC32C(c, rest)
	}
	return c
}

// PatchDtime changes only the deletion time of the slot b of inode ino, which
// links orphans, and the checksum.
func PatchDtime(b []byte, s *Superblock, ino, dtime uint32) {
	le.PutUint32(b[0x14:], dtime)
	sealInode(b, s, ino)
}

// sealInode stores the checksum of an encoded inode.
func sealInode(b []byte, s *Superblock, ino uint32) {
	if !s.MetadataCsum() {
		return
	}
	c := inodeChecksum(b, s, ino, le.Uint32(b[0x64:]))
	le.PutUint16(b[0x7C:], uint16(c))
	if len(b) > 128 && le.Uint16(b[0x80:]) >= 4 {
		le.PutUint16(b[0x82:], uint16(c>>16))
	}
}
