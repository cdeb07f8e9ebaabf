package disk

// File types of directory entries.
const (
	TypeUnknown = 0
	TypeRegular = 1
	TypeDir     = 2
	TypeChar    = 3
	TypeBlock   = 4
	TypeFIFO    = 5
	TypeSocket  = 6
	TypeSymlink = 7

	dirTailSize = 12
	dirTailType = 0xDE
)

// DirType converts the file type of an inode's mode.
func DirType(mode uint16) uint8 {
	switch mode & ModeType {
	case ModeRegular:
		return TypeRegular
	case ModeDir:
		return TypeDir
	case ModeChar:
		return TypeChar
	case ModeBlock:
		return TypeBlock
	case ModeFIFO:
		return TypeFIFO
	case ModeSocket:
		return TypeSocket
	case ModeSymlink:
		return TypeSymlink
	}
	return TypeUnknown
}

// Dirent is one entry of a directory block. Name aliases the block.
type Dirent struct {
	Ino    uint32 // 0: unused
	Offset int    // in the block
	RecLen int
	Type   uint8
	Name   []byte
}

// Size is the space the entry itself needs.
func (d *Dirent) Size() int { return DirentSize(len(d.Name)) }

// DirentSize is the space an entry with a name of n bytes needs.
func DirentSize(n int) int { return (8 + n + 3) &^ 3 }

// RecLen decodes the record length of the entry that begins at b.
func RecLen(b []byte, blockSize int) int { return recLen(le.Uint16(b[4:]), blockSize) }

// recLen: blocks of 64 KiB need more than 16 bits.
func recLen(v uint16, blockSize int) int {
	if blockSize < 65536 {
		return int(v)
	}
	if v == 65535 || v == 0 {
		return blockSize
	}
	return int(v&65532) | int(v&3)<<16
}

func putRecLen(b []byte, n, blockSize int) {
	if blockSize >= 65536 {
		if n == 65536 {
			n = 65535
		} else {
			n = n&65532 | n>>16&3
		}
	}
	le.PutUint16(b, uint16(n))
}

// ReadDirent decodes and validates the entry at off of the directory block b.
// end is where entries stop: len(b), or less when a checksum follows.
func ReadDirent(b []byte, off, end int, s *Superblock) (Dirent, error) {
	const what = "directory block"
	if off < 0 || off+8 > end {
		return Dirent{}, Corrupt(what, "entry at offset %d crosses the end", off)
	}
	d := Dirent{Ino: le.Uint32(b[off:]), Offset: off, RecLen: recLen(le.Uint16(b[off+4:]), s.BlockSize())}
	n := int(b[off+6])
	if s.Has(0, IncompatFiletype, 0) {
		d.Type = b[off+7] & 0xF
	}
	if d.RecLen < DirentSize(n) || d.RecLen < 12 || d.RecLen&3 != 0 || off+d.RecLen > end {
		return Dirent{}, Corrupt(what, "entry at offset %d has length %d and a name of %d", off, d.RecLen, n)
	}
	if d.Ino > s.InodesCount {
		return Dirent{}, Corrupt(what, "entry at offset %d names inode %d", off, d.Ino)
	}
	if d.Ino != 0 && n == 0 {
		return Dirent{}, Corrupt(what, "entry at offset %d has no name", off)
	}
	d.Name = b[off+8 : off+8+n]
	return d, nil
}

// PutDirent writes an entry at off with the given record length.
func PutDirent(b []byte, off, recLen int, ino uint32, typ uint8, name string, s *Superblock) {
	le.PutUint32(b[off:], ino)
	putRecLen(b[off+4:], recLen, s.BlockSize())
	b[off+6] = byte(len(name))
	b[off+7] = 0
	if s.Has(0, IncompatFiletype, 0) {
		b[off+7] = typ
	}
	copy(b[off+8:], name)
}

// SetRecLen changes the record length of the entry at off.
func SetRecLen(b []byte, off, n int, s *Superblock) { putRecLen(b[off+4:], n, s.BlockSize()) }

// SetDirentIno changes the inode, and the type when types are stored.
func SetDirentIno(b []byte, off int, ino uint32, typ uint8, s *Superblock) {
	le.PutUint32(b[off:], ino)
	if s.Has(0, IncompatFiletype, 0) {
		b[off+7] = typ
	}
}

// DirentsEnd is where the entries of a leaf block end.
func DirentsEnd(s *Superblock) int {
	if s.MetadataCsum() {
		return s.BlockSize() - dirTailSize
	}
	return s.BlockSize()
}

// InitDirTail writes the false entry that carries a leaf's checksum.
func InitDirTail(b []byte, s *Superblock) {
	if !s.MetadataCsum() {
		return
	}
	t := b[len(b)-dirTailSize:]
	clear(t)
	le.PutUint16(t[4:], dirTailSize)
	t[7] = dirTailType
}

// SealDirLeaf stores the checksum of a leaf block; seed is the inode's.
func SealDirLeaf(b []byte, s *Superblock, seed uint32) {
	if s.MetadataCsum() {
		n := len(b) - dirTailSize
		le.PutUint32(b[n+8:], CRC32C(seed, b[:n]))
	}
}

// CheckDirLeaf verifies the checksum of a leaf block.
func CheckDirLeaf(b []byte, s *Superblock, seed uint32) error {
	if !s.MetadataCsum() {
		return nil
	}
	n := len(b) - dirTailSize
	t := b[n:]
	if le.Uint32(t) != 0 || le.Uint16(t[4:]) != dirTailSize || t[6] != 0 || t[7] != dirTailType {
		return Corrupt("directory block", "no room for the checksum")
	}
	if got, want := le.Uint32(t[8:]), CRC32C(seed, b[:n]); got != want {
		return Corrupt("directory block", "checksum %#08x, computed %#08x", got, want)
	}
	return nil
}
