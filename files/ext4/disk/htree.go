package disk

const (
	dxRootInfo    = 24 // offset of the root information, after "." and ".."
	dxRootEntries = 32
	dxNodeEntries = 8
	dxEntrySize   = 8
	dxTailSize    = 8
	// IndexLevelsMax bounds the index levels below the root: 1, or 2 with large_dir.
	IndexLevelsMax = 2
)

// Index is a node of a directory's htree: the root, in block 0 of the
// directory, or a node below it. The first entry has no hash of its own: it
// covers everything below the second.
type Index struct {
	B    []byte
	base int // offset of the count and of entry 0
}

// IndexRoot views block 0 of an indexed directory.
func IndexRoot(b []byte) Index { return Index{b, dxRootEntries} }

// IndexNode views a block below the root.
func IndexNode(b []byte) Index { return Index{b, dxNodeEntries} }

// HashVersion is stored in the root, as is Levels.
func (x Index) HashVersion() uint8 { return x.B[dxRootInfo+4] }

// Levels is the number of index levels below the root.
func (x Index) Levels() int { return int(x.B[dxRootInfo+6]) }

// SetLevels changes the number of levels.
func (x Index) SetLevels(n int) { x.B[dxRootInfo+6] = byte(n) }

// Count is the number of entries in use, Limit what there is room for.
func (x Index) Count() int { return int(le.Uint16(x.B[x.base+2:])) }

// Limit is the number of entries there is room for.
func (x Index) Limit() int { return int(le.Uint16(x.B[x.base:])) }

// SetCount changes the count.
func (x Index) SetCount(n int) { le.PutUint16(x.B[x.base+2:], uint16(n)) }

// Hash is the lowest hash of entry i; 0 for the first.
func (x Index) Hash(i int) uint32 {
	if i == 0 {
		return 0
	}
	return le.Uint32(x.B[x.base+i*dxEntrySize:])
}

// Block is the logical block of the directory that entry i leads to.
func (x Index) Block(i int) uint32 { return le.Uint32(x.B[x.base+i*dxEntrySize+4:]) & 0x0FFFFFFF }

// Set stores entry i; the hash of entry 0 is not stored.
func (x Index) Set(i int, hash, block uint32) {
	o := x.base + i*dxEntrySize
	if i > 0 {
		le.PutUint32(x.B[o:], hash)
	}
	le.PutUint32(x.B[o+4:], block)
}

// Insert adds an entry at i > 0. There must be room.
func (x Index) Insert(i int, hash, block uint32) {
	n := x.Count()
	from, to := x.base+i*dxEntrySize, x.base+n*dxEntrySize
	copy(x.B[from+dxEntrySize:to+dxEntrySize], x.B[from:to])
	x.SetCount(n + 1)
	x.Set(i, hash, block)
}

// Find returns the entry that covers hash.
func (x Index) Find(hash uint32) int {
	lo, hi := 1, x.Count()
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		if x.Hash(m) <= hash {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo - 1
}

// IndexLimit is the number of entries a root or another node has room for.
func IndexLimit(s *Superblock, root bool) int {
	n := s.BlockSize() - dxNodeEntries
	if root {
		n = s.BlockSize() - dxRootEntries
	}
	if s.MetadataCsum() {
		n -= dxTailSize
	}
	return n / dxEntrySize
}

// InitIndexRoot writes the root of an index over block 0, whose "." and ".."
// entries stay, with one entry leading to block.
func InitIndexRoot(b []byte, s *Superblock, hashVersion uint8, block uint32) Index {
	SetRecLen(b, 12, s.BlockSize()-12, s)
	clear(b[dxRootInfo:])
	b[dxRootInfo+4] = hashVersion
	b[dxRootInfo+5] = 8
	x := IndexRoot(b)
	le.PutUint16(b[x.base:], uint16(IndexLimit(s, true)))
	x.SetCount(1)
	x.Set(0, 0, block)
	return x
}

// InitIndexNode makes b an empty index node, disguised as an unused entry.
func InitIndexNode(b []byte, s *Superblock) Index {
	clear(b)
	putRecLen(b[4:], s.BlockSize(), s.BlockSize())
	x := IndexNode(b)
	le.PutUint16(b[x.base:], uint16(IndexLimit(s, false)))
	return x
}

// CheckIndex validates a node: its limits, the order of its hashes and, where
// there are any, its checksum.
func CheckIndex(x Index, s *Superblock, seed uint32) error {
	const what = "directory index"
	root := x.base == dxRootEntries
	if root {
		i := x.B[dxRootInfo:]
		if le.Uint32(i) != 0 || i[5] != 8 || i[7]&1 != 0 {
			return Corrupt(what, "root information is damaged")
		}
		levels := IndexLevelsMax - 1
		if s.Has(0, IncompatLargeDir, 0) {
			levels = IndexLevelsMax
		}
		if x.Levels() > levels {
			return Corrupt(what, "%d levels", x.Levels())
		}
	} else if le.Uint32(x.B) != 0 || recLen(le.Uint16(x.B[4:]), s.BlockSize()) != s.BlockSize() {
		return Corrupt(what, "node is not marked as one")
	}
	if x.Limit() != IndexLimit(s, root) || x.Count() == 0 || x.Count() > x.Limit() {
		return Corrupt(what, "%d of %d entries", x.Count(), x.Limit())
	}
	for i := 2; i < x.Count(); i++ {
		if x.Hash(i) < x.Hash(i-1) {
			return Corrupt(what, "hashes out of order at entry %d", i)
		}
	}
	if s.MetadataCsum() {
		got := le.Uint32(x.B[x.tail()+4:])
		if want := x.checksum(seed); got != want {
			return Corrupt(what, "checksum %#08x, computed %#08x", got, want)
		}
	}
	return nil
}

func (x Index) tail() int { return x.base + x.Limit()*dxEntrySize }

func (x Index) checksum(seed uint32) uint32 {
	c := CRC32C(seed, x.B[:x.base+x.Count()*dxEntrySize])
	c = CRC32C(c, x.B[x.tail():x.tail()+4])
	return CRC32C(c, zeros[:])
}

// Seal stores the checksum of a node.
func (x Index) Seal(s *Superblock, seed uint32) {
	if s.MetadataCsum() {
		le.PutUint32(x.B[x.tail()+4:], x.checksum(seed))
	}
}
