package ext4

import (
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/storage"
)

// Open opens the file system on v, which stays the caller's to close.
//
// Errors: *disk.CorruptError when the superblock is damaged;
// *disk.UnsupportedError when a feature prevents reading, or writing unless
// ReadOnly is set; errors of the volume.
func Open(v storage.Volume, o Options) (*FS, error) {
	sb, err := ReadSuperblock(v)
	if err != nil {
		return nil, err
	}
	f, err := newFS(v, sb, o)
	if err != nil {
		return nil, err
	}
	if sb.Has(0, disk.IncompatRecover, 0) && !o.NoRecovery {
		return nil, &disk.UnsupportedError{Features: []string{"needs_recovery"}, Why: "open without replaying the journal"}
	}
	f.readOnly.Store(true)
	return f, nil
}

// Close ends all use of f. The volume stays open.
func (f *FS) Close() error {
	f.closed.Store(true)
	return nil
}
