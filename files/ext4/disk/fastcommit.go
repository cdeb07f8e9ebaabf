package disk

// A fast commit says in tags what has changed since the last transaction, instead of
// logging blocks. They lie in an area of the journal behind its log, in little-endian:
// the number of the transaction they follow at the start of the area; then, of one commit
// after the other, what it changes, and a checksum at its end, which is the end of a
// block. The format: fs/ext4/fast_commit.h and .c of Linux.

// FastKind is what a tag of a fast commit is about.
type FastKind uint16

// Kinds of tags.
const (
	FastAddRange FastKind = 1 // blocks become part of a file
	FastDelRange FastKind = 2 // blocks of a file are freed
	FastCreate   FastKind = 3 // the name of a new inode
	FastLink     FastKind = 4 // a name
	FastUnlink   FastKind = 5 // a name is gone
	FastInode    FastKind = 6 // what an inode holds, but for its map of blocks

	fastPad  FastKind = 7
	fastTail FastKind = 8
	fastHead FastKind = 9

	fastTagSize = 4
)

// FastTag is a change of a fast commit.
type FastTag struct {
	Kind   FastKind
	Ino    uint32
	Extent Extent // of FastAddRange
	From   uint32 // of FastDelRange: the first logical block
	Count  uint32
	Parent uint32 // of names
	Name   string
	Raw    []byte // of FastInode: the first bytes of its slot, at least 128; valid until the next tag
}

// EachFastTag passes the changes of the fast commits that follow transaction tid to yield,
// until that fails. read returns a block of the area, nil beyond its end. It returns how many
// of them belong to commits that are complete: those after them never happened. Errors:
// *CorruptError, *UnsupportedError, and those of read and yield.
func EachFastTag(read func(n uint32) ([]byte, error), tid uint32, s *Superblock, yield func(FastTag) error) (complete int, err error) {
	seen, sum := 0, uint32(0)
	for n := uint32(0); ; n++ {
		p, err := read(n)
		if err != nil || p == nil {
			return complete, err
		}
		if n == 0 && (FastKind(le.Uint16(p)) != fastHead || le.Uint16(p[2:]) != 8) {
			return 0, nil
		}
		for len(p) >= fastTagSize {
			kind, length := FastKind(le.Uint16(p)), int(le.Uint16(p[2:]))
			if length > len(p)-fastTagSize {
				return complete, nil
			}
			whole, value := p[:fastTagSize+length], p[fastTagSize:][:length]
			p = p[len(whole):]
			switch kind {
			case fastPad:
			case fastHead:
				if length != 8 || le.Uint32(value[4:]) != tid {
					return complete, nil
				}
				if features := le.Uint32(value); features != 0 {
					return 0, &UnsupportedError{Features: []string{"fast commits with features unknown here"}, Why: "replay the journal"}
				}
			case fastTail:
				if length < 8 || le.Uint32(value) != tid || le.Uint32(value[4:]) != CRC32C(sum, whole[:fastTagSize+4]) {
					return complete, nil
				}
				complete, sum = seen, 0
				continue
			default:
				tag, ok := decodeFastTag(kind, value, s)
				if !ok {
					return complete, nil
				}
				if yield != nil {
					if err := yield(tag); err != nil {
						return complete, err
					}
				}
				seen++
			}
			sum = CRC32C(sum, whole)
		}
	}
}

func decodeFastTag(kind FastKind, value []byte, s *Superblock) (t FastTag, ok bool) {
	if len(value) < 4 {
		return t, false
	}
	t.Kind, t.Ino = kind, le.Uint32(value)
	rest := value[4:]
	switch kind {
	case FastAddRange:
		if len(rest) != ExtentEntrySize {
			return t, false
		}
		t.Extent = decodeExtent(rest)
		return t, t.Extent.Len > 0
	case FastDelRange:
		if len(rest) != 8 {
			return t, false
		}
		t.From, t.Count = le.Uint32(rest), le.Uint32(rest[4:])
		return t, true
	case FastCreate, FastLink, FastUnlink:
		if len(rest) < 5 || len(rest) > 4+NameLenMax {
			return t, false
		}
		t.Parent, t.Ino = t.Ino, le.Uint32(rest)
		t.Name = string(rest[4:])
		return t, true
	case FastInode:
		t.Raw = rest
		return t, len(rest) >= 128 && len(rest) <= int(s.InodeSize)
	}
	return t, false
}

// PatchInode writes what a fast commit says of inode ino over its slot b, all but its map
// of blocks unless that is the content of the inode itself.
func PatchInode(b, raw []byte, s *Superblock, ino uint32) {
	copy(b[:0x28], raw)
	copy(b[0x64:], raw[0x64:])
	flags := le.Uint32(b[0x20:])
	held := flags&FlagInlineData != 0
	switch le.Uint16(b) & ModeType {
	case ModeRegular, ModeDir:
	case ModeSymlink:
		held = held || flags&FlagExtents == 0 && le.Uint32(b[4:]) < 60
	default:
		held = true
	}
	if held {
		copy(b[0x28:0x64], raw[0x28:])
	}
	sealInode(b, s, ino)
}
