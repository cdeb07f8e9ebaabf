package disk

import (
	"fmt"
	"math/bits"
)

// Compatible features: a writer that does not know one may still write.
const (
	CompatDirPrealloc  = 0x1
	CompatHasJournal   = 0x4
	CompatExtAttr      = 0x8
	CompatResizeInode  = 0x10
	CompatDirIndex     = 0x20
	CompatSparseSuper2 = 0x200
	CompatFastCommit   = 0x400
	CompatStableInodes = 0x800
	CompatOrphanFile   = 0x1000
)

// Incompatible features: a reader that does not know one must not mount.
const (
	IncompatCompression = 0x1
	IncompatFiletype    = 0x2
	IncompatRecover     = 0x4
	IncompatJournalDev  = 0x8
	IncompatMetaBG      = 0x10
	IncompatExtents     = 0x40
	Incompat64Bit       = 0x80
	IncompatMMP         = 0x100
	IncompatFlexBG      = 0x200
	IncompatEAInode     = 0x400
	IncompatDirData     = 0x1000
	IncompatCsumSeed    = 0x2000
	IncompatLargeDir    = 0x4000
	IncompatInlineData  = 0x8000
	IncompatEncrypt     = 0x10000
	IncompatCasefold    = 0x20000
)

// Read-only compatible features: a writer that does not know one must not write.
const (
	ROCompatSparseSuper   = 0x1
	ROCompatLargeFile     = 0x2
	ROCompatBtreeDir      = 0x4
	ROCompatHugeFile      = 0x8
	ROCompatGdtCsum       = 0x10
	ROCompatDirNlink      = 0x20
	ROCompatExtraIsize    = 0x40
	ROCompatHasSnapshot   = 0x80
	ROCompatQuota         = 0x100
	ROCompatBigalloc      = 0x200
	ROCompatMetadataCsum  = 0x400
	ROCompatReplica       = 0x800
	ROCompatReadonly      = 0x1000
	ROCompatProject       = 0x2000
	ROCompatSharedBlocks  = 0x4000
	ROCompatVerity        = 0x8000
	ROCompatOrphanPresent = 0x10000
)

var compatNames = map[uint32]string{
	0x1: "dir_prealloc", 0x2: "imagic_inodes", 0x4: "has_journal", 0x8: "ext_attr",
	0x10: "resize_inode", 0x20: "dir_index", 0x40: "lazy_bg", 0x100: "exclude_bitmap",
	0x200: "sparse_super2", 0x400: "fast_commit", 0x800: "stable_inodes", 0x1000: "orphan_file",
}

var incompatNames = map[uint32]string{
	0x1: "compression", 0x2: "filetype", 0x4: "needs_recovery", 0x8: "journal_dev",
	0x10: "meta_bg", 0x40: "extent", 0x80: "64bit", 0x100: "mmp", 0x200: "flex_bg",
	0x400: "ea_inode", 0x1000: "dirdata", 0x2000: "metadata_csum_seed", 0x4000: "large_dir",
	0x8000: "inline_data", 0x10000: "encrypt", 0x20000: "casefold",
}

var roCompatNames = map[uint32]string{
	0x1: "sparse_super", 0x2: "large_file", 0x4: "btree_dir", 0x8: "huge_file",
	0x10: "uninit_bg", 0x20: "dir_nlink", 0x40: "extra_isize", 0x80: "snapshot",
	0x100: "quota", 0x200: "bigalloc", 0x400: "metadata_csum", 0x800: "replica",
	0x1000: "read-only", 0x2000: "project", 0x4000: "shared_blocks", 0x8000: "verity",
	0x10000: "orphan_present",
}

const (
	incompatReadable = IncompatFiletype | IncompatRecover | IncompatMetaBG | IncompatExtents | Incompat64Bit |
		IncompatFlexBG | IncompatCsumSeed | IncompatLargeDir | IncompatInlineData | IncompatMMP | IncompatCasefold
	incompatWritable = incompatReadable &^ (IncompatMMP | IncompatInlineData | IncompatLargeDir)
	roCompatWritable = ROCompatSparseSuper | ROCompatLargeFile | ROCompatHugeFile | ROCompatGdtCsum | ROCompatDirNlink |
		ROCompatExtraIsize | ROCompatMetadataCsum | ROCompatOrphanPresent | ROCompatQuota | ROCompatProject
)

// FeatureNames lists the features of a superblock as dumpe2fs names them;
// unknown bits appear as FEATURE_C<bit>, _I<bit>, _R<bit>.
func FeatureNames(compat, incompat, roCompat uint32) []string {
	var out []string
	out = append(out, names(compat, compatNames, 'C')...)
	out = append(out, names(incompat, incompatNames, 'I')...)
	return append(out, names(roCompat, roCompatNames, 'R')...)
}

func names(set uint32, known map[uint32]string, class byte) []string {
	var out []string
	for ; set != 0; set &= set - 1 {
		bit := uint32(1) << bits.TrailingZeros32(set)
		if n, ok := known[bit]; ok {
			out = append(out, n)
		} else {
			out = append(out, fmt.Sprintf("FEATURE_%c%d", class, bits.TrailingZeros32(bit)))
		}
	}
	return out
}

// CheckReadable returns an *UnsupportedError when a feature makes the file
// system unreadable to this package: an unknown incompatible one, or bigalloc,
// whose bitmaps have another meaning.
func (s *Superblock) CheckReadable() error {
	bad := names(s.FeatureIncompat&^incompatReadable, incompatNames, 'I')
	if s.FeatureROCompat&ROCompatBigalloc != 0 {
		bad = append(bad, "bigalloc")
	}
	if s.Has(0, IncompatCasefold, 0) && (s.Encoding != EncodingUTF8 || s.EncodingFlags&^EncodingStrict != 0) {
		bad = append(bad, fmt.Sprintf("casefold in encoding %d with flags %#x", s.Encoding, s.EncodingFlags))
	}
	if len(bad) > 0 {
		return &UnsupportedError{Features: bad, Why: "read this file system"}
	}
	return nil
}

// CheckWritable returns an *UnsupportedError when a feature makes writing
// unsafe. MMP, inline data and large_dir are among them: this package
// reads such file systems and leaves them as they are.
func (s *Superblock) CheckWritable() error {
	bad := names(s.FeatureIncompat&^incompatWritable, incompatNames, 'I')
	bad = append(bad, names(s.FeatureROCompat&^roCompatWritable, roCompatNames, 'R')...)
	if len(bad) > 0 {
		return &UnsupportedError{Features: bad, Why: "write this file system"}
	}
	return nil
}
