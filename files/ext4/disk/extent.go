package disk

const (
	extentMagic      = 0xF30A
	ExtentHeaderSize = 12
	ExtentEntrySize  = 12
	ExtentLenMax     = 1 << 15   // blocks of a written extent
	UnwrittenLenMax  = 1<<15 - 1 // blocks of an unwritten extent
	LogicalBlocksMax = 1<<32 - 1 // blocks of a file mapped by extents
	extentTailSize   = 4
	InodeExtentsMax  = (60 - 12) / 12 // entries held in the inode itself
)

// Extent maps Len blocks of a file from Logical to Physical. Unwritten blocks
// are allocated and read as zeros.
type Extent struct {
	Logical   uint32
	Len       uint32
	Physical  uint64
	Unwritten bool
}

// End is the first logical block after e.
func (e Extent) End() uint64 { return uint64(e.Logical) + uint64(e.Len) }

// ExtentNode is a node of an extent tree, in the inode or in a block.
type ExtentNode []byte

// Entries is the number of entries in use.
func (n ExtentNode) Entries() int { return int(le.Uint16(n[2:])) }

// Max is the number of entries n has room for.
func (n ExtentNode) Max() int { return int(le.Uint16(n[4:])) }

// Depth is 0 for a leaf.
func (n ExtentNode) Depth() int { return int(le.Uint16(n[6:])) }

// SetEntries and SetDepth change the header.
func (n ExtentNode) SetEntries(v int) { le.PutUint16(n[2:], uint16(v)) }

// SetDepth changes the depth of n.
func (n ExtentNode) SetDepth(v int) { le.PutUint16(n[6:], uint16(v)) }

// InitExtentNode makes b an empty node. A node in a block leaves room for the
// checksum at its end.
func InitExtentNode(b []byte, depth int, inInode bool) ExtentNode {
	clear(b)
	room := len(b) - ExtentHeaderSize
	if inInode {
		room = 60 - ExtentHeaderSize
	}
	le.PutUint16(b, extentMagic)
	le.PutUint16(b[4:], uint16(room/ExtentEntrySize))
	le.PutUint16(b[6:], uint16(depth))
	return b
}

func (n ExtentNode) entry(i int) []byte {
	off := ExtentHeaderSize + i*ExtentEntrySize
	return n[off : off+ExtentEntrySize]
}

// First is the first logical block entry i covers, in leaves and above.
func (n ExtentNode) First(i int) uint32 { return le.Uint32(n.entry(i)) }

// Extent is entry i of a leaf.
func (n ExtentNode) Extent(i int) Extent { return decodeExtent(n.entry(i)) }

func decodeExtent(e []byte) Extent {
	x := Extent{Logical: le.Uint32(e), Len: uint32(le.Uint16(e[4:]))}
	x.Physical = uint64(le.Uint16(e[6:]))<<32 | uint64(le.Uint32(e[8:]))
	if x.Len > ExtentLenMax {
		x.Len -= ExtentLenMax
		x.Unwritten = true
	}
	return x
}

// SetExtent stores entry i of a leaf.
func (n ExtentNode) SetExtent(i int, x Extent) {
	e := n.entry(i)
	le.PutUint32(e, x.Logical)
	l := x.Len
	if x.Unwritten {
		l += ExtentLenMax
	}
	le.PutUint16(e[4:], uint16(l))
	le.PutUint16(e[6:], uint16(x.Physical>>32))
	le.PutUint32(e[8:], uint32(x.Physical))
}

// Child is the block of the node below entry i of an index node.
func (n ExtentNode) Child(i int) uint64 {
	e := n.entry(i)
	return uint64(le.Uint16(e[8:]))<<32 | uint64(le.Uint32(e[4:]))
}

// SetChild stores entry i of an index node.
func (n ExtentNode) SetChild(i int, first uint32, child uint64) {
	e := n.entry(i)
	le.PutUint32(e, first)
	le.PutUint32(e[4:], uint32(child))
	le.PutUint16(e[8:], uint16(child>>32))
	le.PutUint16(e[10:], 0)
}

// Insert opens a gap for entry i, which the caller then sets. There must be room.
func (n ExtentNode) Insert(i int) {
	c := n.Entries()
	from, to := ExtentHeaderSize+i*ExtentEntrySize, ExtentHeaderSize+c*ExtentEntrySize
	copy(n[from+ExtentEntrySize:to+ExtentEntrySize], n[from:to])
	n.SetEntries(c + 1)
}

// Remove deletes k entries from i on.
func (n ExtentNode) Remove(i, k int) {
	c := n.Entries()
	from, to := ExtentHeaderSize+i*ExtentEntrySize, ExtentHeaderSize+c*ExtentEntrySize
	copy(n[from:to], n[from+k*ExtentEntrySize:to])
	clear(n[to-k*ExtentEntrySize : to])
	n.SetEntries(c - k)
}

// Find returns the last entry whose first logical block is at most logical, or
// -1. Entries are sorted, as CheckExtentNode has verified.
func (n ExtentNode) Find(logical uint32) int {
	lo, hi := 0, n.Entries()
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		if n.First(m) <= logical {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo - 1
}

// CheckExtentNode validates the header and the entries of a node, which must
// have the given depth (any, if negative). Checksums are verified apart.
func CheckExtentNode(b []byte, depth int, s *Superblock) error {
	what := "extent node"
	n := ExtentNode(b)
	if len(b) < ExtentHeaderSize || le.Uint16(b) != extentMagic {
		return Corrupt(what, "magic number is missing")
	}
	if n.Depth() > ExtentsDepth || depth >= 0 && n.Depth() != depth {
		return Corrupt(what, "depth %d", n.Depth())
	}
	if n.Max() > (len(b)-ExtentHeaderSize)/ExtentEntrySize || n.Entries() > n.Max() || n.Max() == 0 {
		return Corrupt(what, "%d of %d entries in %d bytes", n.Entries(), n.Max(), len(b))
	}
	if n.Entries() == 0 && n.Depth() > 0 {
		return Corrupt(what, "an index node is empty")
	}
	var end uint64
	for i := range n.Entries() {
		if n.Depth() > 0 {
			if c := n.Child(i); c <= uint64(s.FirstDataBlock) || c >= s.BlocksCount {
				return Corrupt(what, "child at block %d", c)
			}
			if i > 0 && n.First(i) <= n.First(i-1) {
				return Corrupt(what, "entries out of order at logical block %d", n.First(i))
			}
			continue
		}
		x := n.Extent(i)
		if x.Len == 0 || x.Physical <= uint64(s.FirstDataBlock) || x.Physical >= s.BlocksCount || uint64(x.Len) > s.BlocksCount-x.Physical {
			return Corrupt(what, "logical block %d: %d blocks at %d", x.Logical, x.Len, x.Physical)
		}
		if i > 0 && uint64(x.Logical) < end || x.End() > 1<<32 {
			return Corrupt(what, "extents overlap at logical block %d", x.Logical)
		}
		end = x.End()
	}
	return nil
}

func extentTail(b []byte) int {
	return ExtentHeaderSize + ExtentEntrySize*ExtentNode(b).Max()
}

// CheckExtentChecksum verifies a node in a block; seed is the inode's.
func CheckExtentChecksum(b []byte, seed uint32) error {
	t := extentTail(b)
	if t+extentTailSize > len(b) {
		return Corrupt("extent node", "no room for the checksum")
	}
	if got, want := le.Uint32(b[t:]), CRC32C(seed, b[:t]); got != want {
		return Corrupt("extent node", "checksum %#08x, computed %#08x", got, want)
	}
	return nil
}

// SealExtentNode stores the checksum of a node in a block.
func SealExtentNode(b []byte, seed uint32) {
	t := extentTail(b)
	le.PutUint32(b[t:], CRC32C(seed, b[:t]))
}
