package device

import (
	"errors"
	"fmt"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/internal/unix/uring"
	"github.com/quintet-os/quintet/storage"
)

const (
	// DepthDefault and DepthMax bound a File's operations in flight.
	DepthDefault = 256
	DepthMax     = uring.EntriesMax
	// buffersMax bounds the attached regions that are pinned; more work, unpinned.
	buffersMax = 1024
	// bufferBytesMax is the kernel's limit on one fixed buffer.
	bufferBytesMax = 1 << 30
	// zeroesBytes is the size of the memory zeroes are written from where the
	// device has no better way.
	zeroesBytes = 256 << 10
	// retriesMax bounds how often one operation is tried again that the kernel
	// has asked to be tried again.
	retriesMax = 16
	// stepsMax bounds how many further steps of operations one Reap starts.
	stepsMax = 16
)

// Options tune a File. The zero value is what measurements favour.
type Options struct {
	Depth     int        // operations in flight, 0 for DepthDefault
	Mode      uring.Mode // see docs/decisions
	Buffered  bool       // leave the page cache in place: do not turn O_DIRECT on
	Unpinned  bool       // do not pin attached memory
	ReadOnly  bool       // refuse changes, whatever the descriptor allows
	BlockSize int        // bytes, a multiple of the device's own unit, which 0 means
	Size      int64      // bytes to use from the start, 0 for all
}

// File is a regular file or a block device driven through io_uring.
type File struct {
	fd    int
	ring  *uring.Ring
	event int
	info  storage.Info
	stat  unix.File
	unit  int // the device's own block size: what a transfer cut short is a multiple of

	running []running
	free    []uint32
	pinned  []bool // places of the ring's buffer table
	zeroes  []byte
	zeroing stage // the first way of zeroing a range that may work
}

// NewFile drives the open descriptor fd, which it owns from now on, even if it
// fails. It must be called on the locked thread that will use the File. It
// measures size and block size, and turns O_DIRECT on where the file system has
// it. It fails when fd is neither a regular file nor a block device, when its
// size is less than a block or than Options.Size, when Options.BlockSize does not suit it, and when the kernel offers no io_uring.
func NewFile(fd int, options Options) (*File, error) {
	f := &File{fd: fd, event: -1, zeroing: stagePunch}
	if err := f.open(options); err != nil {
		f.Close()
		return nil, fmt.Errorf("storage device: %w", err)
	}
	return f, nil
}

// Measure returns what NewFile would make of fd, without making it. It turns
// O_DIRECT on.
func Measure(fd int, options Options) (storage.Info, error) {
	f := &File{fd: fd}
	err := f.measure(options)
	return f.info, err
}

func (f *File) open(options Options) error {
	if err := f.measure(options); err != nil {
		return err
	}
	depth := options.Depth
	if depth == 0 {
		depth = DepthDefault
	}
	var err error
	if f.ring, err = uring.New(depth, options.Mode); err != nil {
		return fmt.Errorf("%w (is io_uring allowed? see kernel.io_uring_disabled and the sandbox)", err)
	}
	if f.event, err = unix.CreateEventfd(); err != nil {
		return err
	}
	if err := f.ring.RegisterEventfd(f.event); err != nil {
		return fmt.Errorf("register the completion eventfd: %w", err)
	}
	if !options.Unpinned && f.ring.RegisterBuffers(buffersMax) == nil {
		f.pinned = make([]bool, buffersMax)
	}
	f.running = make([]running, depth)
	for i := range f.running {
		f.free = append(f.free, uint32(depth-1-i))
	}
	return nil
}

// measure finds size, block size and rights, and turns direct I/O on.
func (f *File) measure(options Options) error {
	stat, err := unix.StatFile(f.fd)
	if err != nil {
		return err
	}
	if !stat.Direct && !options.Buffered {
		if err := unix.SetDirect(f.fd); err == nil {
			stat.Direct = true
		}
	}
	block := storage.BlockSizeMin
	if stat.Direct {
		block = max(block, stat.Logical, stat.Memory)
		if stat.Logical == 0 {
			block = 4096 // a kernel before 6.1 does not say
		}
	} else if stat.Block {
		block = max(block, stat.Logical)
	}
	if block > storage.BlockSizeMax || block&(block-1) != 0 {
		return fmt.Errorf("a block size of %d bytes is not supported", block)
	}
	f.unit = block
	if options.BlockSize != 0 {
		if options.BlockSize%block != 0 {
			return fmt.Errorf("a block size of %d bytes: the device's own is %d, and it must be a multiple of that", options.BlockSize, block)
		}
		block = options.BlockSize
	}
	size := stat.Size
	if options.Size != 0 {
		if options.Size > size {
			return fmt.Errorf("%d bytes are wanted, there are %d", options.Size, size)
		}
		size = options.Size
	}
	if size < int64(block) {
		return fmt.Errorf("%d bytes is less than one block of %d; extend the file (truncate -s) or attach the device first", size, block)
	}
	f.stat = stat
	f.info = storage.Info{
		Size:      size &^ int64(block-1),
		BlockSize: block,
		Writable:  stat.Writable && !options.ReadOnly,
		Discard:   stat.Block || stat.Writable && unix.CanPunch(f.fd, stat.Size),
	}
	return nil
}

// Fence waits until no operation of an earlier owner is in flight, and keeps
// later ones out for as long as this File and its operations live. See the
// package comment. Unlike the other methods it may be called from any thread.
func (f *File) Fence() error {
	if err := unix.LockExclusive(f.fd); err != nil {
		return fmt.Errorf("storage device: fence: %w", err)
	}
	return nil
}

// TryFence is Fence that does not wait: false while an operation of an earlier
// owner is in flight.
func (f *File) TryFence() (bool, error) {
	granted, err := unix.TryLockExclusive(f.fd)
	if err != nil {
		err = fmt.Errorf("storage device: fence: %w", err)
	}
	return granted, err
}

// Info describes the device as measured by NewFile.
func (f *File) Info() storage.Info { return f.info }

// Direct reports whether I/O bypasses the page cache.
func (f *File) Direct() bool { return f.stat.Direct }

// Attach pins mem for as long as it is attached, or returns BufferNone when the
// kernel will not pin it.
func (f *File) Attach(mem []byte) int {
	if len(mem) == 0 || len(mem) > bufferBytesMax {
		return storage.BufferNone
	}
	for place, taken := range f.pinned {
		if taken {
			continue
		}
		if f.ring.SetBuffer(place, mem) != nil {
			return storage.BufferNone
		}
		f.pinned[place] = true
		return place
	}
	return storage.BufferNone
}

// Detach releases what Attach pinned.
func (f *File) Detach(buffer int) {
	if buffer != storage.BufferNone {
		f.pinned[buffer] = f.ring.SetBuffer(buffer, nil) != nil
	}
}

// Busy returns false: the kernel does the work.
func (f *File) Busy() bool { return false }

// Wakeup returns the completion eventfd.
func (f *File) Wakeup() int { return f.event }

// Close ends the ring and closes the descriptor.
func (f *File) Close() error {
	var errs []error
	if f.ring != nil {
		errs = append(errs, f.ring.Close())
	}
	if f.event >= 0 {
		errs = append(errs, unix.Close(f.event))
	}
	if f.zeroes != nil {
		errs = append(errs, unix.Unmap(f.zeroes))
	}
	return errors.Join(append(errs, unix.Close(f.fd))...)
}
