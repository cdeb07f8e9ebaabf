package ext4

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/jbd2"
	"github.com/quintet-os/quintet/storage"
)

// problemsMax bounds the problems a Report lists; more are only counted.
const problemsMax = 1000

// Report is what Check found.
type Report struct {
	Problems  []string // each names the structure, the inode or group, and the block
	Count     int      // of problems, also beyond those listed
	Recovered bool     // a journal was replayed, in memory, before checking
	Orphans   int      // inodes without names that the next mount frees
	Inodes    uint64   // in use
	Blocks    uint64   // in use
	Dirs      uint64
}

// Clean reports that nothing is wrong.
func (r *Report) Clean() bool { return r.Count == 0 }

// Check examines a whole file system and changes nothing. If its journal holds
// transactions they are replayed in memory first, so that what is checked is
// what the next mount would find; a journal too damaged for that is a problem,
// and what is checked is then the volume as it stands.
//
// Not looked at: the contents of the MMP block and of the
// journal's log, and inodes that are free.
//
// Memory: a bit for each block in use and some bytes for each inode.
// Errors: what prevents looking at all: a damaged superblock, unsupported
// features, errors of the volume. Everything else is in the Report.
func Check(v storage.Volume) (*Report, error) {
	o := Options{ReadOnly: true, Now: func() time.Time { return time.Time{} }}
	f, err := Open(v, o)
	var lost error
	if err != nil && isDamage(err) {
		// If it is the journal that is damaged, the rest can still be looked at.
		lost, o.NoRecovery = err, true
		f, err = Open(v, o)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := &Report{}
	_, r.Recovered = f.volume.(*overlay)
	c := &checker{f: f, r: r, used: map[uint32][]byte{}, bad: map[uint64]bool{}, inodes: map[uint32]*checked{}, shared: map[uint64]*sharedBlock{}}
	for kind := range c.owned {
		c.owned[kind] = map[uint32]usage{}
	}
	if lost != nil {
		c.problem("the journal cannot be replayed: %v", lost)
	}
	return r, c.run()
}

// checked is what is known of an inode in use.
type checked struct {
	mode    uint16
	links   uint16 // as the inode says
	names   uint32 // entries found that lead to it
	parent  uint32 // of a directory: the one it was found in
	up      uint32 // of a directory: where its ".." leads
	orphan  bool
	reached bool
}

// sharedBlock is an attribute block, which several inodes may have.
type sharedBlock struct{ refs, seen uint32 }

type checker struct {
	f      *FS
	r      *Report
	used   map[uint32][]byte // per group: the blocks found in use
	tables []span            // of inodes, in the order of their blocks
	bad    map[uint64]bool   // blocks of them that are not to be used
	inodes map[uint32]*checked
	shared map[uint64]*sharedBlock
	owned  [quotaKinds]map[uint32]usage
}

func (c *checker) problem(format string, args ...any) {
	c.r.Count++
	if len(c.r.Problems) < problemsMax {
		c.r.Problems = append(c.r.Problems, fmt.Sprintf(format, args...))
	}
}

// note turns damage into a problem; any other error ends the check.
func (c *checker) note(err error) error {
	if err == nil {
		return nil
	}
	if isDamage(err) {
		c.problem("%v", err)
		return nil
	}
	return err
}

// isDamage reports an error that says what is wrong with a volume, not that it
// could not be looked at.
func isDamage(err error) bool {
	var format *jbd2.FormatError
	var sum *jbd2.ChecksumError
	return errors.Is(err, disk.ErrCorrupt) || KindOf(err) != 0 || errors.As(err, &format) || errors.As(err, &sum)
}

func (c *checker) run() error {
	for _, pass := range []func() error{c.layout, c.journal, c.orphans, c.scanInodes, c.scanDirs, c.connectivity, c.bitmaps, c.quotas} {
		if err := pass(); err != nil {
			return err
		}
	}
	return nil
}

// take marks blocks as used by owner, reporting those that have one already,
// which makes it return false: what they lead to has been looked at.
func (c *checker) take(block uint64, n uint64, owner string) bool {
	sb := c.f.sb
	if block < uint64(sb.FirstDataBlock) || block >= sb.BlocksCount || n > sb.BlocksCount-block {
		c.problem("%s: %d blocks at %d are beyond the volume", owner, n, block)
		return false
	}
	alone := true
	for ; n > 0; n-- {
		g, i := sb.GroupOf(block)
		p := c.used[g]
		if p == nil {
			p = make([]byte, c.f.bs)
			c.used[g] = p
		}
		if p[i>>3]&(1<<(i&7)) != 0 && alone && !sb.Has(0, 0, disk.ROCompatSharedBlocks) {
			c.problem("%s: block %d has another owner", owner, block)
			alone = false
		}
		p[i>>3] |= 1 << (i & 7)
		c.r.Blocks++
		block++
	}
	return alone
}

// layout marks the file system's own blocks.
func (c *checker) layout() error {
	sb := c.f.sb
	for n := range uint32(sb.Groups()) {
		if k := sb.GroupOverhead(n); k > 0 {
			c.take(sb.GroupStart(n), uint64(k), fmt.Sprintf("group %d's superblock and descriptors", n))
		}
	}
	for n := range uint32(sb.Groups()) {
		g, err := c.f.groups.get(n)
		if err != nil {
			if err := c.note(err); err != nil {
				return err
			}
			continue
		}
		name := fmt.Sprintf("group %d's ", n)
		c.take(g.d.BlockBitmap, 1, name+"block bitmap")
		c.take(g.d.InodeBitmap, 1, name+"inode bitmap")
		c.take(g.d.InodeTable, uint64(sb.InodeTableBlocks()), name+"inode table")
		c.tables = append(c.tables, span{g.d.InodeTable, sb.InodeTableBlocks()})
		const uninit = disk.GroupBlockUninit | disk.GroupInodeUninit
		if (g.d.Flags&uninit != 0 || g.d.ItableUnused != 0) && sb.FeatureROCompat&(disk.ROCompatGdtCsum|disk.ROCompatMetadataCsum) == 0 {
			c.problem("group %d: its bitmaps are uninitialised, which needs checksums of descriptors", n)
		}
	}
	slices.SortFunc(c.tables, func(a, b span) int { return cmp.Compare(a.block, b.block) })
	if sb.Has(0, disk.IncompatMMP, 0) {
		c.take(sb.MMPBlock, 1, "the MMP block")
	}
	if extra := sb.InodeSize - 128; sb.MinExtraIsize > extra || sb.WantExtraIsize > extra {
		c.problem("superblock: inodes of %d bytes have no extra fields of %d and %d", sb.InodeSize, sb.MinExtraIsize, sb.WantExtraIsize)
	}
	return nil
}

// journal looks at the journal's first block.
func (c *checker) journal() error {
	if !c.f.sb.Has(disk.CompatHasJournal, 0, 0) || c.f.sb.JournalInode == 0 {
		return nil
	}
	log, err := c.f.journalLog()
	if err != nil {
		return c.note(err)
	}
	_, err = log.Load()
	return c.note(err)
}

// rawInode decodes an inode whether it is in use or not.
func (f *FS) rawInode(ino uint32) (*disk.Inode, error) {
	b, off, err := f.inodeSlot(ino)
	if err != nil {
		return nil, err
	}
	defer b.Release()
	d, err := disk.DecodeInode(b.Data[off:off+int(f.sb.InodeSize)], f.sb, ino)
	return d, disk.At(err, ino, b.Block())
}
