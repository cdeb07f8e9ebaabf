package client

import (
	"context"
	"fmt"

	"github.com/quintet-os/quintet/storage"
)

const (
	// pieceBytes is the size of the requests a larger transfer is split into.
	pieceBytes = 256 << 10
	// piecesMax bounds the pieces of one transfer in flight.
	piecesMax = 8
)

// Read fills p, by one copy.
func (v *Volume) Read(ctx context.Context, p []byte, off int64) (int, error) {
	return v.transfer(ctx, storage.OpRead, 0, p, nil, off)
}

// Write writes p, by one copy. With FlagFUA the data is durable on return.
func (v *Volume) Write(ctx context.Context, p []byte, off int64, flags storage.Flags) (int, error) {
	return v.transfer(ctx, storage.OpWrite, flags, p, nil, off)
}

// ReadBuffer fills length bytes of b from at on, without a copy. at must be a
// multiple of the block size. After KindCanceled the memory may still be written
// to; release the buffer and forget it.
func (v *Volume) ReadBuffer(ctx context.Context, b *Buffer, at, length int, off int64) (int, error) {
	return v.granted(ctx, storage.OpRead, 0, b, at, length, off)
}

// WriteBuffer writes length bytes of b from at on, without a copy; see
// ReadBuffer.
func (v *Volume) WriteBuffer(ctx context.Context, b *Buffer, at, length int, off int64, flags storage.Flags) (int, error) {
	return v.granted(ctx, storage.OpWrite, flags, b, at, length, off)
}

func (v *Volume) granted(ctx context.Context, op storage.Op, flags storage.Flags, b *Buffer, at, length int, off int64) (int, error) {
	if at < 0 || length < 0 || at > len(b.Mem) || length > len(b.Mem)-at {
		return 0, &storage.Error{Kind: storage.KindBounds, Op: op, Offset: off, Length: int64(length),
			Err: fmt.Errorf("bytes %d to %d of a buffer of %d", at, at+length, len(b.Mem))}
	}
	if at%v.info.BlockSize != 0 {
		return 0, &storage.Error{Kind: storage.KindAlignment, Op: op, Offset: off, Length: int64(length),
			Err: fmt.Errorf("byte %d of a buffer", at)}
	}
	return v.transfer(ctx, op, flags, b.Mem[at:at+length], &place{b, at}, off)
}

// place is where in a granted buffer a transfer takes place.
type place struct {
	buffer *Buffer
	at     int
}

// transfer moves p piece by piece, several in flight, and waits for them in
// order. p lies at granted, or is copied if that is nil.
func (v *Volume) transfer(ctx context.Context, op storage.Op, flags storage.Flags, p []byte, granted *place, off int64) (n int, err error) {
	if err := v.check(op, off, int64(len(p))); err != nil {
		return 0, err
	}
	t := transfer{volume: v, op: op, flags: flags, p: p, granted: granted, off: off}
	for {
		for err == nil && t.started < len(p) && t.last-t.first < piecesMax {
			var more bool
			if more, err = t.start(ctx); !more {
				break
			}
		}
		if t.last == t.first {
			return n, err
		}
		done, failed := t.finish(ctx)
		if !t.broken {
			n += done
		}
		if failed != nil && !t.broken {
			t.broken, err = true, failed
		}
	}
}

// transfer is the state of one transfer: a window of pieces in flight.
type transfer struct {
	volume      *Volume
	op          storage.Op
	flags       storage.Flags
	p           []byte
	granted     *place
	off         int64
	started     int
	first, last int  // pieces in flight, by number
	broken      bool // a piece has failed: what follows it does not count
	window      [piecesMax]flight
}

// start starts the next piece. It waits for a buffer and a slot only while
// nothing is in flight; otherwise it returns false when there is none.
func (t *transfer) start(ctx context.Context) (bool, error) {
	v, s := t.volume, t.volume.session
	f := &t.window[t.last%piecesMax]
	f.request = storage.Request{Op: t.op, Flags: t.flags, Volume: v.handle, Offset: t.off + int64(t.started)}
	f.buffer = nil
	if t.granted != nil {
		n, at := min(len(t.p)-t.started, storage.TransferMax), t.granted.at+t.started
		f.use(t.granted.buffer, at, n)
	} else {
		n := min(len(t.p)-t.started, s.pieceBytes(v.info.BlockSize))
		if err := t.bounce(ctx, f, n); f.buffer == nil {
			return false, err
		}
		defer f.buffer.Release() // once started, the request's own hold counts
	}
	if t.last == t.first {
		if err := s.slot(ctx, &f.request); err != nil {
			return false, err
		}
	} else if !s.trySlot() {
		return false, nil
	}
	if err := s.start(ctx, f); err != nil {
		return false, err
	}
	t.started += len(f.mem)
	t.last++
	return true, nil
}

// bounce gets a buffer for a piece, and fills it for a write. It leaves none,
// with no error, when there is no room and something is in flight.
func (t *transfer) bounce(ctx context.Context, f *flight, n int) error {
	s := t.volume.session
	b := s.buffers.try(n)
	if b == nil && t.last == t.first {
		var err error
		if b, err = s.buffers.Get(ctx, n); err != nil {
			return failure(&f.request, err)
		}
	}
	if b == nil {
		return nil
	}
	f.use(b, 0, n)
	if t.op == storage.OpWrite {
		copy(f.mem, t.p[t.started:])
		s.copied.Add(uint64(n))
	}
	return nil
}

// finish waits for the oldest piece, and returns how much of it is good.
func (t *transfer) finish(ctx context.Context) (int, error) {
	s := t.volume.session
	f := &t.window[t.first%piecesMax]
	t.first++
	if t.granted == nil {
		f.buffer.users.Add(1) // the data is still to be copied out
		defer f.buffer.Release()
	}
	reply, err := s.wait(ctx, f)
	switch {
	case t.granted != nil:
		s.direct.Add(uint64(reply.Done))
	case t.op == storage.OpRead && reply.Done > 0:
		copy(t.p[f.request.Offset-t.off:], f.mem[:reply.Done])
		s.copied.Add(uint64(reply.Done))
	}
	return int(reply.Done), err
}
