package inspect

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/quintet-os/quintet/files/ext4/disk"
)

// FileSystem is what the superblock says, with the free counts that the groups
// add up to when it was last written.
type FileSystem struct {
	UUID           string    `json:"uuid"`
	Label          string    `json:"label"`
	LastMounted    string    `json:"last_mounted"` // directory
	Features       []string  `json:"features"`
	State          string    `json:"state"`
	BlockSize      int       `json:"block_size"` // bytes
	Blocks         uint64    `json:"blocks"`
	ReservedBlocks uint64    `json:"reserved_blocks"`
	FreeBlocks     uint64    `json:"free_blocks"`
	Inodes         uint32    `json:"inodes"`
	FreeInodes     uint32    `json:"free_inodes"`
	InodeSize      uint16    `json:"inode_size"` // bytes
	Groups         uint64    `json:"groups"`
	BlocksPerGroup uint32    `json:"blocks_per_group"`
	InodesPerGroup uint32    `json:"inodes_per_group"`
	JournalInode   uint32    `json:"journal_inode"`
	FirstOrphan    uint32    `json:"first_orphan"` // inode without a name, or 0
	Mounts         uint16    `json:"mounts"`
	Created        time.Time `json:"created"`
	Mounted        time.Time `json:"mounted"`
	Written        time.Time `json:"written"`
	NeedsRecovery  bool      `json:"needs_recovery"`
}

// FileSystem describes the file system as a whole.
func (m *Image) FileSystem() *FileSystem {
	sb := &m.sb
	at := func(seconds uint64) time.Time { return time.Unix(int64(seconds), 0).UTC() }
	return &FileSystem{
		UUID: uuid(sb.UUID), Label: text(sb.VolumeName[:]), LastMounted: text(sb.LastMounted[:]),
		Features: disk.FeatureNames(sb.FeatureCompat, sb.FeatureIncompat, sb.FeatureROCompat), State: state(sb.State),
		BlockSize: sb.BlockSize(), Blocks: sb.BlocksCount, ReservedBlocks: sb.ReservedBlocks, FreeBlocks: sb.FreeBlocks,
		Inodes: sb.InodesCount, FreeInodes: sb.FreeInodes, InodeSize: sb.InodeSize, Groups: sb.Groups(),
		BlocksPerGroup: sb.BlocksPerGroup, InodesPerGroup: sb.InodesPerGroup, JournalInode: sb.JournalInode,
		FirstOrphan: sb.LastOrphan, Mounts: sb.MountCount, Created: at(sb.MkfsTime), Mounted: at(sb.MountTime),
		Written: at(sb.WriteTime), NeedsRecovery: sb.Has(0, disk.IncompatRecover, 0),
	}
}

// Print writes the description for people.
func (s *FileSystem) Print(w io.Writer) error {
	mounted := "never"
	if s.Mounted.Unix() != 0 {
		mounted = fmt.Sprintf("%s, %d times since the last check", s.Mounted.Format(time.DateTime), s.Mounts)
	}
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-16s "+format+"\n", append([]any{name + ":"}, args...)...)
	}
	line("UUID", "%s", s.UUID)
	line("Label", "%s", printable(s.Label))
	line("Last mounted on", "%s", printable(s.LastMounted))
	line("Features", "%s", strings.Join(s.Features, " "))
	line("State", "%s", s.State)
	line("Blocks", "%d of %d bytes; %d free, %d reserved", s.Blocks, s.BlockSize, s.FreeBlocks, s.ReservedBlocks)
	line("Inodes", "%d of %d bytes; %d free", s.Inodes, s.InodeSize, s.FreeInodes)
	line("Groups", "%d of %d blocks and %d inodes", s.Groups, s.BlocksPerGroup, s.InodesPerGroup)
	line("Journal", "inode %d; needs recovery: %t", s.JournalInode, s.NeedsRecovery)
	line("First orphan", "inode %d", s.FirstOrphan)
	line("Created", "%s", s.Created.Format(time.DateTime))
	line("Mounted", "%s", mounted)
	line("Written", "%s", s.Written.Format(time.DateTime))
	_, err := io.WriteString(w, b.String())
	return err
}

func state(bits uint16) string {
	s := "not clean"
	if bits&disk.StateValid != 0 {
		s = "clean"
	}
	if bits&disk.StateError != 0 {
		s += " with errors"
	}
	return s
}

func uuid(u [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// text is the string in a field padded with zeros.
func text(field []byte) string {
	s, _, _ := strings.Cut(string(field), "\x00")
	return s
}

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
