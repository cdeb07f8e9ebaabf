package ext4

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/quintet-os/quintet/files/ext4/disk"
)

// inode is an inode in memory. There is at most one for a number.
type inode struct {
	ino   uint32
	epoch uint64 // tells it from whatever else was in memory under the number
	// mu guards d, the slot in the inode table, the mapping, the directory's
	// blocks and the attributes. File data of overlapping ranges is ordered by it.
	mu   sync.RWMutex
	d    disk.Inode
	seed uint32 // of the checksums of what belongs to the inode

	state atomic.Uint32 // inodeLoading, inodeReady, inodeStale

	orphan     atomic.Bool // on the list of orphans; set and cleared under mu
	nextOrphan uint32      // guarded by FS.orphanMu
	changed    uint32      // the journal's transaction that last changed it; guarded by mu
	spare      span        // blocks held for appending; guarded by mu
	noDefault  bool        // known to have no default access control list; guarded by mu
	// noCapabilities says that no attribute lends rights to who runs the file;
	// guarded by mu.
	noCapabilities bool
	names          uint64 // changes of a directory's entries since it was loaded; guarded by mu

	holds int // by callers of Hold; guarded by the shard
	refs  int // guarded by the shard
	idle  int // position among the idle, or -1; guarded by the shard
}

const (
	inodeLoading = iota // the loader holds mu
	inodeReady
	inodeStale // loading failed, or the inode was freed; no longer in the table
)

// key names a kind of structure of this inode to the buffer cache.
func (i *inode) key(kind uint64) uint64 {
	return kind<<60 | uint64(i.seed)<<28 ^ uint64(i.ino)
}

// Kinds of structures, for keys of the buffer cache.
const (
	keyDirLeaf = 1 + iota
	keyIndexRoot
	keyIndexNode
	keyXattr
	keyBlockBitmap
	keyInodeBitmap
	keyIndirect
	keyExtent // plus the depth, at most 5
)

// newInode is an inode about to be in memory, with a reference.
func (f *FS) newInode(ino uint32) *inode {
	return &inode{ino: ino, epoch: f.epochs.Add(1), refs: 1, idle: -1}
}

// inode returns the inode with a reference, reading it if it is not in memory.
// Concurrent loads of one inode wait on its lock.
func (f *FS) inode(ino uint32) (*inode, error) {
	if f.closed.Load() {
		return nil, refuse(KindClosed, "use", ino, "")
	}
	s := f.inodes.shard(ino)
	s.mu.Lock()
	if i := s.table[ino]; i != nil {
		s.ref(i)
		s.mu.Unlock()
		if i.loaded() == inodeReady {
			return i, nil
		}
		f.put(i)
		return nil, refuse(KindStale, "use", ino, "")
	}
	i := f.newInode(ino)
	i.mu.Lock()
	defer i.mu.Unlock()
	s.table[ino] = i
	s.mu.Unlock()
	if f.journal != nil {
		// Which transaction has changed it was forgotten with it, if it was here
		// before; none is later than this.
		i.changed = f.journal.Latest()
	}
	if err := f.load(i); err != nil {
		f.note(err)
		i.state.Store(inodeStale)
		s.mu.Lock()
		if s.table[ino] == i {
			delete(s.table, ino)
		}
		s.mu.Unlock()
		return nil, err
	}
	i.state.Store(inodeReady)
	return i, nil
}

// loaded waits for the loader, which holds mu, and returns the state.
func (i *inode) loaded() uint32 {
	if s := i.state.Load(); s != inodeLoading {
		return s
	}
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.state.Load()
}

// load reads i from the inode table.
func (f *FS) load(i *inode) error {
	b, off, err := f.inodeSlot(i.ino)
	if err != nil {
		return err
	}
	defer b.Release()
	d, err := disk.DecodeInode(b.Data[off:off+int(f.sb.InodeSize)], f.sb, i.ino)
	if err != nil {
		return disk.At(err, i.ino, b.Block())
	}
	if d.Mode == 0 || d.Links == 0 && !i.orphan.Load() {
		return refuse(KindStale, "use", i.ino, "")
	}
	if d.Has(disk.FlagInlineData) && !f.sb.Has(0, disk.IncompatInlineData, 0) {
		return &disk.CorruptError{Structure: "inode", Ino: i.ino, Block: b.Block(), Detail: "holds its data, which this file system does not do"}
	}
	if d.IsDir() && d.Has(disk.FlagIndex) && f.noDir && f.sb.MetadataCsum() {
		return &disk.CorruptError{Structure: "inode", Ino: i.ino, Block: b.Block(), Detail: "is an indexed directory, which this file system does not have; e2fsck makes it an ordinary one"}
	}
	i.d = *d
	i.seed = disk.InodeSeed(f.seed, i.ino, d.Generation)
	if d.HasBlocks(f.bs) && d.Has(disk.FlagExtents) {
		if err := disk.CheckExtentNode(i.d.Block[:], -1, f.sb); err != nil {
			return disk.At(err, i.ino, b.Block())
		}
	}
	return nil
}

// acquire returns an inode locked for reading.
func (f *FS) acquire(ino uint32) (*inode, error) {
	i, err := f.inode(ino)
	if err != nil {
		return nil, err
	}
	i.mu.RLock()
	if i.state.Load() != inodeReady {
		f.release(i)
		return nil, refuse(KindStale, "use", ino, "")
	}
	return i, nil
}

// release undoes acquire.
func (f *FS) release(i *inode) {
	i.mu.RUnlock()
	f.put(i)
}

// lock locks inodes that are referenced already for writing, in order of
// their numbers and each once, skipping nil. It fails if one was freed
// meanwhile, or is not for users to change.
func (f *FS) lock(list ...*inode) (unlock func(), err error) {
	slices.SortFunc(list, func(a, b *inode) int { return cmp.Compare(number(a), number(b)) })
	list = slices.Compact(list)
	if len(list) > 0 && list[0] == nil {
		list = list[1:]
	}
	for _, i := range list {
		i.mu.Lock()
	}
	unlock = func() {
		for _, i := range list {
			i.mu.Unlock()
		}
	}
	for _, i := range list {
		if i.state.Load() != inodeReady {
			unlock()
			return nil, refuse(KindStale, "use", i.ino, "")
		}
		if f.sb.Special(i.ino) {
			unlock()
			return nil, refuse(KindPermission, "change an inode of the file system's own:", i.ino, "")
		}
	}
	return unlock, nil
}

func number(i *inode) uint32 {
	if i == nil {
		return 0
	}
	return i.ino
}
