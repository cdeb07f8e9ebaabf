package ext4

import (
	"sync"

	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/disk"
)

// quotaPlacesMax bounds the places of entries that are remembered for a quota file.
const quotaPlacesMax = 1 << 14

// quotaFile is one of the files of quotas, open.
type quotaFile struct {
	f        *FS
	kind     QuotaKind
	inode    *inode
	enforced bool

	mu       sync.Mutex // guards what follows, and the content of the file
	info     disk.QuotaInfo
	places   map[uint32]quotaPlace // of entries; they never move
	promised map[uint32]usage      // see promise
}

// quotaPlace is where an entry is; its block is never 0.
type quotaPlace struct {
	block uint32 // of the quota file
	entry int
}

// openQuotaFile opens the file of a kind and checks its header.
func (f *FS) openQuotaFile(kind QuotaKind) (*quotaFile, error) {
	i, err := f.inode(f.sb.QuotaInodes[kind])
	if err != nil {
		return nil, err
	}
	q := &quotaFile{f: f, kind: kind, inode: i, places: map[uint32]quotaPlace{}, promised: map[uint32]usage{}}
	if err := q.load(); err != nil {
		f.put(i)
		return nil, err
	}
	return q, nil
}

func (q *quotaFile) load() error {
	if !q.inode.d.IsRegular() || q.inode.d.Has(disk.FlagInlineData) {
		return q.damaged("is no ordinary file")
	}
	b, head, err := q.block(0)
	if err != nil {
		return err
	}
	defer b.Release()
	q.info, err = disk.DecodeQuotaInfo(head, int(q.kind), q.inode.d.Size)
	return disk.At(err, q.inode.ino, b.Block())
}

func (q *quotaFile) damaged(detail string) error {
	return &disk.CorruptError{Structure: "quota file", Ino: q.inode.ino, Detail: detail}
}

// block returns block n of the file, and the buffer it is in, pinned.
func (q *quotaFile) block(n uint32) (*buffer.Buffer, []byte, error) {
	at := uint64(n) * disk.QuotaBlockSize
	m, err := q.f.mapBlock(q.inode, uint32(at>>q.f.shift))
	if err != nil {
		return nil, nil, err
	}
	if m.hole() || m.Unwritten {
		return nil, nil, q.damaged("has a hole")
	}
	b, err := q.f.cache.Get(m.Physical, 0, nil)
	if err != nil {
		return nil, nil, err
	}
	return b, b.Data[at&uint64(q.f.bs-1):][:disk.QuotaBlockSize], nil
}

// follow returns the number that inner block n, of a depth, has for id; 0 is none.
func (q *quotaFile) follow(n, id uint32, depth int) (uint32, error) {
	b, data, err := q.block(n)
	if err != nil {
		return 0, err
	}
	defer b.Release()
	next := le.Uint32(data[disk.QuotaSlot(id, depth):])
	if next != 0 {
		err = disk.At(q.info.CheckQuotaRef(next), q.inode.ino, b.Block())
	}
	return next, err
}

// find returns where the entry of id is, or a place in block 0. It needs q.mu.
func (q *quotaFile) find(id uint32) (quotaPlace, error) {
	if p, ok := q.places[id]; ok {
		return p, nil
	}
	n := uint32(disk.QuotaRoot)
	for depth := range disk.QuotaDepth {
		var err error
		if n, err = q.follow(n, id, depth); n == 0 || err != nil {
			return quotaPlace{}, err
		}
	}
	b, data, err := q.block(n)
	if err != nil {
		return quotaPlace{}, err
	}
	defer b.Release()
	for k := range disk.QuotaEntries {
		e := disk.QuotaLeaf(data).Entry(k)
		if !disk.QuotaUnused(e) && le.Uint32(e) == id {
			p := quotaPlace{n, k}
			q.remember(id, p)
			return p, nil
		}
	}
	return quotaPlace{}, disk.At(q.damaged("leads to an entry that is not there"), q.inode.ino, b.Block())
}

func (q *quotaFile) remember(id uint32, p quotaPlace) {
	if len(q.places) >= quotaPlacesMax {
		clear(q.places)
	}
	q.places[id] = p
}

// read returns the entry of id, and whether there is one. It needs q.mu.
func (q *quotaFile) read(id uint32) (disk.Quota, bool, error) {
	p, err := q.find(id)
	if err != nil || p.block == 0 {
		return disk.Quota{ID: id}, false, err
	}
	b, data, err := q.block(p.block)
	if err != nil {
		return disk.Quota{}, false, err
	}
	defer b.Release()
	return disk.DecodeQuota(disk.QuotaLeaf(data).Entry(p.entry)), true, nil
}

// each passes every entry to yield, once. It needs q.mu, and ends on any file: a block is
// visited once.
func (q *quotaFile) each(yield func(disk.Quota)) error {
	seen := map[uint32]bool{}
	var walk func(n uint32, depth int) error
	walk = func(n uint32, depth int) error {
		if seen[n] {
			if depth == disk.QuotaDepth {
				return nil // several ids share a block of entries
			}
			return q.damaged("is no tree")
		}
		seen[n] = true
		b, data, err := q.block(n)
		if err != nil {
			return err
		}
		defer b.Release()
		if depth == disk.QuotaDepth {
			for k := range disk.QuotaEntries {
				if e := disk.QuotaLeaf(data).Entry(k); !disk.QuotaUnused(e) {
					yield(disk.DecodeQuota(e))
				}
			}
			return nil
		}
		for at := 0; at < len(data); at += 4 {
			next := le.Uint32(data[at:])
			if next == 0 {
				continue
			}
			if err := q.info.CheckQuotaRef(next); err != nil {
				return disk.At(err, q.inode.ino, b.Block())
			}
			if err := walk(next, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	return walk(disk.QuotaRoot, 0)
}
