package disk

import (
	"errors"
	"fmt"
	"strings"
)

// ErrCorrupt is matched by every error that reports damage on the device.
var ErrCorrupt = errors.New("ext4: file system is damaged")

// ErrUnsupported is matched by every error that refuses a valid file system
// because of a feature this package does not implement.
var ErrUnsupported = errors.New("ext4: unsupported feature")

// CorruptError reports a structure whose contents are inconsistent or whose
// checksum does not match. Block and Ino are zero when they do not apply.
type CorruptError struct {
	Structure string // "extent node", "directory block", "group descriptor", ...
	Block     uint64 // device block that holds it
	Ino       uint32 // inode it belongs to
	Detail    string
}

func (e *CorruptError) Error() string {
	var b strings.Builder
	b.WriteString("ext4: damaged ")
	b.WriteString(e.Structure)
	if e.Ino != 0 {
		fmt.Fprintf(&b, " of inode %d", e.Ino)
	}
	if e.Block != 0 {
		fmt.Fprintf(&b, " at block %d", e.Block)
	}
	b.WriteString(": ")
	b.WriteString(e.Detail)
	b.WriteString(" (run fsck)")
	return b.String()
}

// Unwrap makes errors.Is(err, ErrCorrupt) hold.
func (e *CorruptError) Unwrap() error { return ErrCorrupt }

// Corrupt returns a *CorruptError without a place; callers that know the block
// or inode fill it in with At.
func Corrupt(structure, format string, args ...any) *CorruptError {
	return &CorruptError{Structure: structure, Detail: fmt.Sprintf(format, args...)}
}

// At adds a place to a *CorruptError and returns any other error unchanged.
func At(err error, ino uint32, block uint64) error {
	var c *CorruptError
	if errors.As(err, &c) {
		d := *c
		if d.Ino == 0 {
			d.Ino = ino
		}
		if d.Block == 0 {
			d.Block = block
		}
		return &d
	}
	return err
}

// UnsupportedError names the features that prevent an operation.
type UnsupportedError struct {
	Features []string
	Why      string // what is refused: "mount", "write", ...
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("ext4: cannot %s: unsupported feature %s", e.Why, strings.Join(e.Features, ", "))
}

// Unwrap makes errors.Is(err, ErrUnsupported) hold.
func (e *UnsupportedError) Unwrap() error { return ErrUnsupported }
