package disk

import (
	"cmp"
	"slices"
)

// Extended attribute name spaces.
const (
	XattrUser         = 1
	XattrACLAccess    = 2
	XattrACLDefault   = 3
	XattrTrusted      = 4
	XattrSecurity     = 6
	XattrSystem       = 7
	xattrMagic        = 0xEA020000
	xattrHeaderSize   = 32
	xattrEntrySize    = 16
	xattrEntriesBound = 65536 / xattrEntrySize
)

// Xattr is one extended attribute. The name lacks the prefix that Index means.
type Xattr struct {
	Index uint8
	Name  string
	Value []byte
	// ValueIno holds the value in an inode of its own when it is not zero.
	ValueIno uint32
	// Size is the length of the value wherever it is.
	Size uint32
}

// XattrBlockRefs is the reference count of an attribute block.
func XattrBlockRefs(b []byte) uint32 { return le.Uint32(b[4:]) }

// SetXattrBlockRefs changes it; the caller seals the block.
func SetXattrBlockRefs(b []byte, n uint32) { le.PutUint32(b[4:], n) }

// DecodeXattrBlock decodes and validates an attribute block at device block
// blockNr.
func DecodeXattrBlock(b []byte, s *Superblock, blockNr uint64) ([]Xattr, error) {
	const what = "extended attribute block"
	if le.Uint32(b) != xattrMagic || le.Uint32(b[8:]) != 1 {
		return nil, &CorruptError{Structure: what, Block: blockNr, Detail: "magic number is missing"}
	}
	if s.MetadataCsum() {
		if got, want := le.Uint32(b[0x10:]), xattrChecksum(b, s, blockNr); got != want {
			return nil, At(Corrupt(what, "checksum %#08x, computed %#08x", got, want), 0, blockNr)
		}
	}
	x, err := decodeXattrs(b, xattrHeaderSize, 0)
	return x, At(err, 0, blockNr)
}

// DecodeInodeXattrs decodes the attributes stored behind the extra fields of
// an inode slot. It returns nil when there are none.
func DecodeInodeXattrs(slot []byte, extraIsize uint16) ([]Xattr, error) {
	off := 128 + int(extraIsize)
	if len(slot) == 128 || extraIsize == 0 || off+4 > len(slot) || le.Uint32(slot[off:]) != xattrMagic {
		return nil, nil
	}
	return decodeXattrs(slot[off+4:], 0, 0)
}

func decodeXattrs(b []byte, off, base int) ([]Xattr, error) {
	const what = "extended attributes"
	first := base + xattrEntriesEnd(b, off)
	var out []Xattr
	for range xattrEntriesBound {
		if off+4 > len(b) {
			return nil, Corrupt(what, "list does not end")
		}
		if le.Uint32(b[off:]) == 0 {
			return out, nil
		}
		if off+xattrEntrySize > len(b) || off+xattrEntrySize+int(b[off]) > len(b) {
			return nil, Corrupt(what, "entry at offset %d crosses the end", off)
		}
		n := int(b[off])
		x := Xattr{Index: b[off+1], Name: string(b[off+xattrEntrySize : off+xattrEntrySize+n]),
			ValueIno: le.Uint32(b[off+4:]), Size: le.Uint32(b[off+8:])}
		if x.ValueIno == 0 {
			v := base + int(le.Uint16(b[off+2:]))
			if uint64(v)+uint64(x.Size) > uint64(len(b)) {
				return nil, Corrupt(what, "value of entry at offset %d crosses the end", off)
			}
			if x.Size > 0 && v < first {
				return nil, Corrupt(what, "value of entry at offset %d lies among the entries", off)
			}
			x.Value = slices.Clone(b[v : v+int(x.Size)])
			if h := le.Uint32(b[off+12:]); h != 0 && h != xattrEntryHash(&x, false) && h != xattrEntryHash(&x, true) {
				return nil, Corrupt(what, "hash of entry at offset %d does not match", off)
			}
		}
		out = append(out, x)
		off += (xattrEntrySize + n + 3) &^ 3
	}
	return nil, Corrupt(what, "list does not end")
}

// xattrEntriesEnd is where the list of entries that begins at off ends, or b.
func xattrEntriesEnd(b []byte, off int) int {
	for off+4 <= len(b) && le.Uint32(b[off:]) != 0 {
		off += (xattrEntrySize + int(b[off]) + 3) &^ 3
	}
	return min(off+4, len(b))
}

func xattrEntryHash(x *Xattr, signed bool) uint32 {
	var h uint32
	for i := range len(x.Name) {
		h = h<<5 ^ h>>27 ^ char(x.Name[i], signed)
	}
	for v := x.Value; len(v) > 0; v = v[min(len(v), 4):] {
		var w [4]byte
		copy(w[:], v)
		h = h<<16 ^ h>>16 ^ le.Uint32(w[:])
	}
	return h
}

func xattrChecksum(b []byte, s *Superblock, blockNr uint64) uint32 {
	c := CRC32CUint64(s.Seed(), blockNr)
	c = CRC32C(c, b[:0x10])
	c = CRC32C(c, zeros[:])
	return CRC32C(c, b[0x14:])
}

// XattrSpace is the space the attributes need in an inode or, without its
// header, in a block.
func XattrSpace(xs []Xattr) int {
	n := 4
	for i := range xs {
		n += (xattrEntrySize+len(xs[i].Name)+3)&^3 + (len(xs[i].Value)+3)&^3
	}
	return n
}

// XattrBlockRoom is what a block offers, in the terms of XattrSpace.
func XattrBlockRoom(s *Superblock) int { return s.BlockSize() - xattrHeaderSize }

// XattrInodeRoom is what an inode slot offers.
func XattrInodeRoom(s *Superblock, extraIsize uint16) int {
	if s.InodeSize == 128 || extraIsize == 0 {
		return 0
	}
	return max(0, int(s.InodeSize)-128-int(extraIsize)-4)
}

// EncodeInodeXattrs writes the attributes behind the extra fields of a slot.
// They must fit XattrInodeRoom.
func EncodeInodeXattrs(slot []byte, extraIsize uint16, xs []Xattr) {
	off := 128 + int(extraIsize)
	if off >= len(slot) {
		return
	}
	clear(slot[off:])
	if len(xs) > 0 {
		le.PutUint32(slot[off:], xattrMagic)
		encodeXattrs(slot[off+4:], 0, xs)
	}
}

// EncodeXattrBlock writes an attribute block with one reference. The
// attributes must fit XattrBlockRoom; they are stored sorted, as the kernel
// expects.
func EncodeXattrBlock(b []byte, s *Superblock, blockNr uint64, xs []Xattr) {
	clear(b)
	le.PutUint32(b, xattrMagic)
	le.PutUint32(b[4:], 1)
	le.PutUint32(b[8:], 1)
	sorted := slices.Clone(xs)
	slices.SortFunc(sorted, func(a, c Xattr) int {
		return cmp.Or(cmp.Compare(a.Index, c.Index), cmp.Compare(len(a.Name), len(c.Name)), cmp.Compare(a.Name, c.Name))
	})
	var h uint32
	for _, e := range encodeXattrs(b, xattrHeaderSize, sorted) {
		h = h<<16 ^ h>>16 ^ e
		if e == 0 {
			h = 0
			break
		}
	}
	le.PutUint32(b[0xC:], h)
	SealXattrBlock(b, s, blockNr)
}

// SealXattrBlock stores the checksum of an attribute block.
func SealXattrBlock(b []byte, s *Superblock, blockNr uint64) {
	if s.MetadataCsum() {
		le.PutUint32(b[0x10:], xattrChecksum(b, s, blockNr))
	}
}

func encodeXattrs(b []byte, off int, xs []Xattr) (hashes []uint32) {
	end := len(b) &^ 3
	for i := range xs {
		x := &xs[i]
		e := b[off:]
		e[0], e[1] = byte(len(x.Name)), x.Index
		le.PutUint32(e[4:], 0)
		le.PutUint32(e[8:], uint32(len(x.Value)))
		h := xattrEntryHash(x, false)
		hashes = append(hashes, h)
		le.PutUint32(e[12:], h)
		copy(e[xattrEntrySize:], x.Name)
		if len(x.Value) > 0 {
			end -= (len(x.Value) + 3) &^ 3
			copy(b[end:], x.Value)
			le.PutUint16(e[2:], uint16(end))
		}
		off += (xattrEntrySize + len(x.Name) + 3) &^ 3
	}
	return hashes
}
