package disk

// A quota file says what each user, group or project uses and may use. It is a tree of
// blocks of 1,024 bytes, whatever the blocks of the file system are: block 0 is the
// header, block 1 the root; inner blocks have 256 numbers of blocks, indexed by a byte of
// the id each, the highest first; what the lowest lead to holds 14 entries in no order.
// The format is "vfsv1", quota format 2 revision 1: fs/quota/quotaio_v2.h and
// quota_tree.c of Linux, lib/support/quotaio_v2.c of e2fsprogs.
const (
	QuotaBlockSize = 1024
	QuotaRoot      = 1 // block of the tree's root
	QuotaDepth     = 4 // inner blocks above an entry
	QuotaEntries   = 14
	QuotaEntrySize = 72
	QuotaFileMax   = 1 << 31 // bytes; what e2fsck accepts

	quotaVersion    = 1
	quotaInfoOffset = 8
	quotaLeafHeader = 16
)

var quotaMagics = [...]uint32{0xD9C01F11, 0xD9C01927, 0xD9C03F14} // of users, groups, projects

// QuotaInfo is the header of a quota file.
type QuotaInfo struct {
	SpaceGrace uint32 // seconds that a soft limit may be exceeded
	InodeGrace uint32
	Blocks     uint32 // of the file, in use or free
	FreeBlock  uint32 // the first of a list, or 0
	FreeEntry  uint32 // the first block of a list of those with room for entries, or 0
}

// DecodeQuotaInfo decodes block 0 of the quota file of a kind (0 users, 1 groups, 2
// projects) that has size bytes.
func DecodeQuotaInfo(b []byte, kind int, size uint64) (QuotaInfo, error) {
	const what = "quota file"
	if magic := le.Uint32(b); magic != quotaMagics[kind] {
		return QuotaInfo{}, Corrupt(what, "magic %#08x", magic)
	}
	if version := le.Uint32(b[4:]); version != quotaVersion {
		return QuotaInfo{}, Corrupt(what, "version %d", version)
	}
	p := b[quotaInfoOffset:]
	q := QuotaInfo{SpaceGrace: le.Uint32(p), InodeGrace: le.Uint32(p[4:]), Blocks: le.Uint32(p[12:]), FreeBlock: le.Uint32(p[16:]), FreeEntry: le.Uint32(p[20:])}
	if size > QuotaFileMax || q.Blocks <= QuotaRoot || uint64(q.Blocks) > (size+QuotaBlockSize-1)/QuotaBlockSize || q.FreeBlock >= q.Blocks || q.FreeEntry >= q.Blocks {
		return QuotaInfo{}, Corrupt(what, "%d blocks in %d bytes, the first free ones %d and %d", q.Blocks, size, q.FreeBlock, q.FreeEntry)
	}
	return q, nil
}

// Encode stores q in block 0.
func (q *QuotaInfo) Encode(b []byte) {
	p := b[quotaInfoOffset:]
	le.PutUint32(p, q.SpaceGrace)
	le.PutUint32(p[4:], q.InodeGrace)
	le.PutUint32(p[12:], q.Blocks)
	le.PutUint32(p[16:], q.FreeBlock)
	le.PutUint32(p[20:], q.FreeEntry)
}

// QuotaSlot is where an inner block at a depth, the root's being 0, has the number of
// the block that leads on to id: an offset in bytes.
func QuotaSlot(id uint32, depth int) int { return 4 * int(id>>(8*(QuotaDepth-1-depth))&0xFF) }

// QuotaLeaf is a block of entries.
type QuotaLeaf []byte

// Next and Prev link the blocks that have room for entries, Next also free blocks.
func (l QuotaLeaf) Next() uint32 { return le.Uint32(l) }

// Prev is described with Next.
func (l QuotaLeaf) Prev() uint32 { return le.Uint32(l[4:]) }

// Count is the number of entries in use.
func (l QuotaLeaf) Count() int { return int(le.Uint16(l[8:])) }

// SetNext changes Next.
func (l QuotaLeaf) SetNext(block uint32) { le.PutUint32(l, block) }

// SetPrev changes Prev.
func (l QuotaLeaf) SetPrev(block uint32) { le.PutUint32(l[4:], block) }

// SetCount changes Count.
func (l QuotaLeaf) SetCount(n int) { le.PutUint16(l[8:], uint16(n)) }

// Entry is the n-th entry, below QuotaEntries.
func (l QuotaLeaf) Entry(n int) []byte {
	return l[quotaLeafHeader+n*QuotaEntrySize:][:QuotaEntrySize]
}

// QuotaUnused reports an entry that holds nothing.
func QuotaUnused(entry []byte) bool { return zeroSlot(entry) }

// Quota is what an id uses and may use. A limit of 0 is none. The hard ones may never be
// exceeded, the soft ones until a time.
type Quota struct {
	ID         uint32
	Space      uint64 // bytes in use
	Inodes     uint64 // in use
	SpaceHard  uint64 // KiB
	SpaceSoft  uint64 // KiB
	InodesHard uint64
	InodesSoft uint64
	SpaceUntil uint64 // seconds since the epoch: when the soft limit becomes a hard one; 0 when it is kept
	InodeUntil uint64
}

// DecodeQuota decodes an entry in use.
func DecodeQuota(b []byte) Quota {
	u64 := func(off int) uint64 { return le.Uint64(b[off:]) }
	q := Quota{ID: le.Uint32(b), InodesHard: u64(8), InodesSoft: u64(16), Inodes: u64(24),
		SpaceHard: u64(32), SpaceSoft: u64(40), Space: u64(48), SpaceUntil: u64(56), InodeUntil: u64(64)}
	if q == (Quota{InodeUntil: 1}) {
		q.InodeUntil = 0 // see Encode
	}
	return q
}

// Encode stores q as an entry in use.
func (q *Quota) Encode(b []byte) {
	if *q == (Quota{}) {
		empty := Quota{InodeUntil: 1} // all zero would be no entry
		empty.Encode(b)
		return
	}
	le.PutUint32(b, q.ID)
	le.PutUint32(b[4:], 0)
	for k, v := range [...]uint64{q.InodesHard, q.InodesSoft, q.Inodes, q.SpaceHard, q.SpaceSoft, q.Space, q.SpaceUntil, q.InodeUntil} {
		le.PutUint64(b[8+8*k:], v)
	}
}

// CheckQuotaRef refuses a number of a block that no inner block may lead to.
func (q *QuotaInfo) CheckQuotaRef(block uint32) error {
	if block <= QuotaRoot || block >= q.Blocks {
		return Corrupt("quota file", "leads to block %d of %d", block, q.Blocks)
	}
	return nil
}
