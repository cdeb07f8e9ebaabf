package disk

const (
	orphanMagic    = 0x0B10CA04
	orphanTailSize = 8
)

// OrphansPerBlock is the number of inodes a block of the orphan file names.
func OrphansPerBlock(s *Superblock) int { return (s.BlockSize() - orphanTailSize) / 4 }

// Orphan is entry k of a block of the orphan file; 0 is an empty one.
func Orphan(b []byte, k int) uint32 { return le.Uint32(b[4*k:]) }

// SetOrphan changes entry k.
func SetOrphan(b []byte, k int, ino uint32) { le.PutUint32(b[4*k:], ino) }

func orphanChecksum(b []byte, s *Superblock, seed uint32, block uint64) uint32 {
	return CRC32C(CRC32CUint64(seed, block), b[:4*OrphansPerBlock(s)])
}

// CheckOrphanBlock verifies a block of the orphan file at device block block;
// seed is that of the file's inode.
func CheckOrphanBlock(b []byte, s *Superblock, seed uint32, block uint64) error {
	t := b[len(b)-orphanTailSize:]
	if le.Uint32(t) != orphanMagic {
		return Corrupt("orphan file", "magic number is missing")
	}
	if got, want := le.Uint32(t[4:]), orphanChecksum(b, s, seed, block); s.MetadataCsum() && got != want {
		return Corrupt("orphan file", "checksum %#08x, computed %#08x", got, want)
	}
	return nil
}

// SealOrphanBlock stores the checksum.
func SealOrphanBlock(b []byte, s *Superblock, seed uint32, block uint64) {
	if s.MetadataCsum() {
		le.PutUint32(b[len(b)-4:], orphanChecksum(b, s, seed, block))
	}
}
