package client

import (
	"context"
	"fmt"

	"github.com/quintet-os/quintet/storage"
)

// Volume is a volume of the storage server; a storage.Volume. The methods with a
// context return an error of storage.KindCanceled when it ends. All may be used
// from any number of goroutines.
type Volume struct {
	session *Session
	handle  int
	info    storage.Info
}

// Volume opens the volume with that handle; it asks the server for its size.
func (s *Session) Volume(ctx context.Context, handle int) (*Volume, error) {
	reply, err := s.call(ctx, storage.Request{Op: storage.OpInfo, Volume: handle})
	if err != nil {
		return nil, err
	}
	block := reply.Info.BlockSize
	if block < storage.BlockSizeMin || block&(block-1) != 0 {
		return nil, fmt.Errorf("storage: the server says the block size is %d bytes", block)
	}
	return &Volume{s, handle, reply.Info}, nil
}

// Size is in bytes.
func (v *Volume) Size() int64 { return v.info.Size }

// BlockSize is in bytes.
func (v *Volume) BlockSize() int { return v.info.BlockSize }

// Writable tells whether this session may change the volume.
func (v *Volume) Writable() bool { return v.info.Writable }

// Info describes the volume.
func (v *Volume) Info() storage.Info { return v.info }

// Session is the session the volume belongs to.
func (v *Volume) Session() *Session { return v.session }

// ReadAt fills p; see storage.Volume.
func (v *Volume) ReadAt(p []byte, off int64) (int, error) {
	return v.Read(context.Background(), p, off)
}

// WriteAt writes p; see storage.Volume.
func (v *Volume) WriteAt(p []byte, off int64) (int, error) {
	return v.Write(context.Background(), p, off, 0)
}

// Flush makes earlier writes durable; see storage.Volume.
func (v *Volume) Flush() error { return v.FlushContext(context.Background()) }

// Discard gives up a range; see storage.Volume.
func (v *Volume) Discard(off, length int64) error {
	return v.span(context.Background(), storage.OpDiscard, 0, off, length)
}

// WriteZeroes zeroes a range; see storage.Volume.
func (v *Volume) WriteZeroes(off, length int64) error {
	return v.WriteZeroesContext(context.Background(), off, length, 0)
}

// FlushContext is Flush.
func (v *Volume) FlushContext(ctx context.Context) error {
	_, err := v.session.call(ctx, storage.Request{Op: storage.OpFlush, Volume: v.handle})
	return err
}

// DiscardContext is Discard.
func (v *Volume) DiscardContext(ctx context.Context, off, length int64) error {
	return v.span(ctx, storage.OpDiscard, 0, off, length)
}

// WriteZeroesContext is WriteZeroes, with FlagFUA durable on return.
func (v *Volume) WriteZeroesContext(ctx context.Context, off, length int64, flags storage.Flags) error {
	return v.span(ctx, storage.OpWriteZeroes, flags, off, length)
}

// span carries out an operation on a range, storage.RangeMax at a time.
func (v *Volume) span(ctx context.Context, op storage.Op, flags storage.Flags, off, length int64) error {
	if err := v.check(op, off, length); err != nil {
		return err
	}
	for length > 0 {
		n := min(length, storage.RangeMax)
		r := storage.Request{Op: op, Flags: flags, Volume: v.handle, Offset: off, Length: n}
		if _, err := v.session.call(ctx, r); err != nil {
			return err
		}
		off, length = off+n, length-n
	}
	return nil
}

// check refuses here what the server would refuse, so that a split operation is
// refused as a whole.
func (v *Volume) check(op storage.Op, off, length int64) error {
	r := storage.Request{Op: op, Offset: off, Length: length}
	kind := storage.KindBounds
	if off >= 0 && length >= 0 {
		kind = r.Check(&v.info)
	}
	if kind == storage.KindOK {
		return nil
	}
	return &storage.Error{Kind: kind, Op: op, Offset: off, Length: length}
}

var _ storage.Volume = (*Volume)(nil)
