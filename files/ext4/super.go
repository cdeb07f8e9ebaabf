package ext4

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/jbd2"
	"github.com/quintet-os/quintet/storage"
)

// CacheBytesDefault bounds the metadata in memory, in bytes.
const CacheBytesDefault = 64 << 20

// sharedLocks is the number of locks that attribute blocks are spread over.
const sharedLocks = 32

// Options configure Open.
type Options struct {
	// ReadOnly refuses all changes. A journal that needs recovery is then
	// replayed in memory, and nothing is written to the volume.
	ReadOnly bool
	// NoRecovery reads the file system as it stands, ignoring its journal. It
	// implies ReadOnly; what is read may be out of date or inconsistent.
	NoRecovery bool
	// CacheBytes bounds cached metadata: blocks, inodes and names; 0 means
	// CacheBytesDefault. Inodes in use and blocks a transaction holds are kept
	// even beyond it, and 256 blocks and 128 inodes are the least.
	CacheBytes int64
	// KeepOrphans leaves inodes without names alone until ReapOrphans, for
	// owners that know who still has them open.
	KeepOrphans bool
	// EnforceQuotas are the kinds whose limits are enforced, as by the mount options
	// usrquota, grpquota and prjquota of Linux. What is used is counted regardless.
	EnforceQuotas []QuotaKind
	// Now is the time of day; nil means time.Now.
	Now func() time.Time
}

// FS is an open file system.
type FS struct {
	volume storage.Volume
	cache  *buffer.Cache
	sb     *disk.Superblock // geometry and features are constant while open
	own    uint64           // blocks the file system has for itself, its journal among them
	hidden int64            // blocks kept for metadata: see mayTake
	bs     int              // block size in bytes
	shift  uint             // log2 of bs
	seed   uint32
	groups groupTable
	inodes inodeCache
	known  knownNames
	epochs atomic.Uint64 // of inodes in memory
	noDir  bool          // no directory indexes: hash order is not used

	journal *jbd2.Journal // nil: read-only

	// renameMu is held by renames between directories, so that the tree of
	// directories does not change under them. It comes before all inodes.
	renameMu sync.Mutex

	orphanMu sync.Mutex // guards orphans and the links of inodes on it
	orphans  []*inode   // the list on the volume, its head last

	shared [sharedLocks]sync.RWMutex // see sharedBlock; after inodes, before groups

	superMu sync.Mutex      // guards super
	super   disk.Superblock // as on the volume; sb is its state when opened

	quotas   [quotaKinds]*quotaFile // nil: not counted
	counting bool                   // there are quota files
	limiting bool                   // limits of some are enforced

	freeBlocks  atomic.Int64 // as the groups say
	freeInodes  atomic.Int64
	available   atomic.Int64 // see claim
	pending     atomic.Int64 // blocks freed by transactions that have not committed
	generations atomic.Uint64

	now     func() time.Time
	noted   atomic.Bool // damage that the superblock on the volume does not tell of
	stopped atomic.Bool // by damage: see note

	readOnly atomic.Bool
	closed   atomic.Bool
	bounced  atomic.Int64
}

// ReadSuperblock reads and validates the superblock of a volume.
func ReadSuperblock(v storage.Volume) (*disk.Superblock, error) {
	raw, err := readSuperblockBytes(v)
	if err != nil {
		return nil, err
	}
	return disk.DecodeSuperblock(raw)
}

func readSuperblockBytes(v storage.Volume) ([]byte, error) {
	n := max(disk.SuperblockOffset+disk.SuperblockSize, v.BlockSize())
	n = (n + v.BlockSize() - 1) / v.BlockSize() * v.BlockSize()
	if int64(n) > v.Size() {
		return nil, disk.Corrupt("superblock", "the volume has only %d bytes", v.Size())
	}
	p := make([]byte, n)
	if _, err := v.ReadAt(p, 0); err != nil {
		return nil, fmt.Errorf("ext4: reading the superblock: %w", err)
	}
	return p[disk.SuperblockOffset : disk.SuperblockOffset+disk.SuperblockSize], nil
}

func newFS(v storage.Volume, sb *disk.Superblock, o Options) (*FS, error) {
	if err := sb.CheckReadable(); err != nil {
		return nil, err
	}
	if sb.BlockSize() < v.BlockSize() {
		return nil, &disk.UnsupportedError{Features: []string{fmt.Sprintf("blocks of %d bytes on a volume with sectors of %d", sb.BlockSize(), v.BlockSize())}, Why: "open"}
	}
	if sb.BlocksCount > uint64(v.Size())/uint64(sb.BlockSize()) {
		return nil, disk.Corrupt("superblock", "%d blocks of %d bytes do not fit a volume of %d bytes", sb.BlocksCount, sb.BlockSize(), v.Size())
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = CacheBytesDefault
	}
	inodes, known := o.CacheBytes/inodeShare, o.CacheBytes/knownShare
	var f *FS
	c, err := buffer.New(v, buffer.Options{BlockSize: sb.BlockSize(), Blocks: sb.BlocksCount, Bytes: o.CacheBytes - inodes - known,
		OnDamage: func(err error) { f.note(err) }})
	if err != nil {
		return nil, err
	}
	f = &FS{volume: v, cache: c, now: o.Now, sb: sb, bs: sb.BlockSize(), shift: uint(10 + sb.LogBlockSize), seed: sb.Seed()}
	f.hidden = hiddenReserve(sb)
	f.noDir = sb.FeatureCompat&disk.CompatDirIndex == 0
	f.super = *sb
	f.groups.init(f)
	f.inodes.init(inodes)
	f.known.init(known)
	f.freeBlocks.Store(int64(sb.FreeBlocks))
	f.freeInodes.Store(int64(sb.FreeInodes))
	f.own = f.overhead()
	if sb.Has(disk.CompatHasJournal, 0, 0) && sb.JournalInode != 0 {
		d, err := f.rawInode(sb.JournalInode)
		if err == nil {
			f.own += d.Size >> f.shift
		} else if !isDamage(err) {
			return nil, err
		}
	}
	f.own = min(f.own, sb.BlocksCount)
	return f, nil
}

// Statfs describes the space of a file system, in blocks.
type Statfs struct {
	BlockSize   int
	Blocks      uint64 // without the file system's own
	Free        uint64
	Available   uint64 // Free without what is kept for the superuser and for metadata
	Inodes      uint64
	FreeInodes  uint64
	NameLenMax  int
	UUID        [16]byte
	BytesCached int64 // of metadata: blocks, names, and inodes whether in use or not
	Bounced     int64 // blocks of file data copied because a request was not aligned
}

// Statfs returns the present figures; it locks nothing for longer than a moment.
func (f *FS) Statfs() Statfs {
	free := uint64(max(0, f.freeBlocks.Load()))
	s := Statfs{BlockSize: f.bs, Blocks: f.sb.BlocksCount - f.own, Free: free, Inodes: uint64(f.sb.InodesCount),
		FreeInodes: uint64(max(0, f.freeInodes.Load())), NameLenMax: disk.NameLenMax, UUID: f.sb.UUID,
		BytesCached: f.cache.Stats().Cached*int64(f.bs) + f.inodes.count()*inodeBytes + f.known.used.Load()*knownBytes, Bounced: f.bounced.Load()}
	s.Available = free - min(free, f.sb.ReservedBlocks+uint64(f.hidden))
	return s
}

// overhead counts the blocks of bitmaps, inode tables, descriptors and
// superblocks.
func (f *FS) overhead() uint64 {
	sb := f.sb
	per := uint64(2 + sb.InodeTableBlocks())
	n := sb.Groups()*per + uint64(sb.FirstDataBlock)
	if sb.FeatureROCompat&disk.ROCompatSparseSuper == 0 && sb.FeatureCompat&disk.CompatSparseSuper2 == 0 {
		return n + sb.Groups()*uint64(sb.GroupOverhead(0))
	}
	if sb.FeatureIncompat&disk.IncompatMetaBG != 0 {
		for g := range uint32(sb.Groups()) {
			n += uint64(sb.GroupOverhead(g))
		}
		return n
	}
	for g := uint64(0); g < sb.Groups(); g++ {
		if sb.HasSuper(uint32(g)) {
			n += uint64(sb.GroupOverhead(uint32(g)))
		}
	}
	return n
}
