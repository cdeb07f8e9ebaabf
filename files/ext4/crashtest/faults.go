package crashtest

import (
	"errors"
	"sync/atomic"

	"github.com/quintet-os/quintet/storage"
)

// ErrFault is the cause of a failure that Faults made.
var ErrFault = errors.New("crashtest: this operation was told to fail")

// Faults is a storage.Volume whose i-th operation fails, counted from 0, and
// with Sticky every one after it too. Run a test with At = 0, 1, 2 ... until
// Tripped stays false: then every operation of it has failed once.
type Faults struct {
	storage.Volume
	At     int64
	Sticky bool
	// Reads makes reads count and fail too, not only what changes the volume.
	Reads bool

	done atomic.Int64
}

// Tripped reports whether an operation has been failed.
func (f *Faults) Tripped() bool { return f.done.Load() > f.At }

// Operations returns how many operations were counted.
func (f *Faults) Operations() int64 { return f.done.Load() }

func (f *Faults) fail(op storage.Op, off, length int64) error {
	if n := f.done.Add(1) - 1; n == f.At || f.Sticky && n > f.At {
		return &storage.Error{Kind: storage.KindIO, Op: op, Offset: off, Length: length, Err: ErrFault}
	}
	return nil
}

// ReadAt implements storage.Volume.
func (f *Faults) ReadAt(p []byte, off int64) (int, error) {
	if f.Reads {
		if err := f.fail(storage.OpRead, off, int64(len(p))); err != nil {
			return 0, err
		}
	}
	return f.Volume.ReadAt(p, off)
}

// WriteAt implements storage.Volume.
func (f *Faults) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fail(storage.OpWrite, off, int64(len(p))); err != nil {
		return 0, err
	}
	return f.Volume.WriteAt(p, off)
}

// Flush implements storage.Volume.
func (f *Faults) Flush() error {
	if err := f.fail(storage.OpFlush, 0, 0); err != nil {
		return err
	}
	return f.Volume.Flush()
}
