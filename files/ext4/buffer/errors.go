package buffer

import (
	"fmt"

	"github.com/quintet-os/quintet/files/ext4/disk"
)

// IOError reports that the device failed to read or write a block. The block's
// content in memory is unchanged: a failed read is not cached, a failed write
// leaves the buffer dirty.
type IOError struct {
	Op    string // "read", "write" or "flush"
	Block uint64 // the first block of the transfer; 0 for a flush
	Err   error
}

func (e *IOError) Error() string {
	if e.Op == "flush" {
		return fmt.Sprintf("ext4: flush of the device failed: %v", e.Err)
	}
	return fmt.Sprintf("ext4: %s of block %d failed: %v", e.Op, e.Block, e.Err)
}

func (e *IOError) Unwrap() error { return e.Err }

// RangeError reports a block number beyond the end of the volume: some pointer
// in the metadata is wrong.
type RangeError struct {
	Block, Blocks uint64 // the block asked for; blocks of the volume
}

func (e *RangeError) Error() string {
	return fmt.Sprintf("ext4: block %d is beyond the end of the volume of %d blocks", e.Block, e.Blocks)
}

// Unwrap makes errors.Is(err, disk.ErrCorrupt) hold.
func (e *RangeError) Unwrap() error { return disk.ErrCorrupt }
