// Package client is the application's side of block storage: volumes over a
// session with the storage server.
//
// Data travels in memory granted to the server. An operation on an ordinary slice
// copies it once, through a Buffers pool; an operation on a Buffer copies
// nothing. Both are counted (Counters), so that "no copy" can be proved.
//
// A transfer larger than pieceBytes is split, and several pieces are in flight at
// once. It is then no longer atomic as a whole: each piece is.
//
// Giving up: when a context ends, the operation returns at once, but its request
// cannot be called back. Its buffer stays in use until the server has answered,
// and only then returns to the pool.
//
// Deadlock is avoided by an order: a buffer first, a slot last, and who has a
// request in flight waits for nothing but its answer.
//
// Trust: the server is trusted with the data it is asked to keep. What it says in
// a reply is checked before it is used as a length.
package client

import (
	"context"
	"errors"
	"sync/atomic"
	"syscall"

	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/storage"
)

// Session is the use of one ipc session for storage. All requests of the ipc
// client must be made through it. It may be used from any number of goroutines.
type Session struct {
	ipc     *ipc.Client
	buffers *Buffers
	slots   chan struct{} // one token for each request that may be started

	copied, direct, requests, abandoned atomic.Uint64
}

// Counters tell what a session has done.
type Counters struct {
	Requests  uint64 `json:"requests"`
	Copied    uint64 `json:"copied_bytes"` // between ordinary slices and granted memory
	Direct    uint64 `json:"direct_bytes"` // in granted buffers, without a copy
	Abandoned uint64 `json:"abandoned"`    // requests given up before their answer
}

// New returns a session with slots slots, the number the ipc session was made
// with. Ordinary slices are copied through buffers.
func New(c *ipc.Client, slots int, buffers *Buffers) *Session {
	return &Session{ipc: c, buffers: buffers, slots: make(chan struct{}, slots)}
}

// Buffers is the pool of granted memory.
func (s *Session) Buffers() *Buffers { return s.buffers }

// Counters returns the session's.
func (s *Session) Counters() Counters {
	return Counters{s.requests.Load(), s.copied.Load(), s.direct.Load(), s.abandoned.Load()}
}

// flight is one request in flight, and what it holds.
type flight struct {
	request storage.Request
	call    *ipc.Call
	buffer  *Buffer // nil if none
	mem     []byte  // the part of the buffer
}

// start submits a request; f.request and f.buffer have been filled in. The caller
// has a slot token, which goes to the flight.
func (s *Session) start(ctx context.Context, f *flight) error {
	s.requests.Add(1)
	words := ipc.Words(f.request.Encode())
	if f.buffer != nil {
		f.buffer.users.Add(1)
	}
	call, err := s.ipc.Start(ctx, &words)
	if err != nil {
		s.release(f)
		return failure(&f.request, err)
	}
	f.call = call
	return nil
}

// use puts n bytes of a buffer, from at on, into the request.
func (f *flight) use(b *Buffer, at, n int) {
	f.buffer, f.mem = b, b.Mem[at:at+n]
	f.request.Region = b.pool.region
	f.request.RegionOffset = int64(b.first*bufferUnit + at)
	f.request.Length = int64(n)
}

// pieceBytes is the size of the pieces that ordinary slices are copied in.
func (s *Session) pieceBytes(block int) int {
	return max(min(pieceBytes, s.buffers.Bytes())&^(block-1), block)
}

func (s *Session) release(f *flight) {
	if f.buffer != nil {
		f.buffer.Release()
	}
	<-s.slots
}

// wait returns the answer. In any case the flight is over for the caller.
func (s *Session) wait(ctx context.Context, f *flight) (storage.Reply, error) {
	var words ipc.Words
	if err := f.call.Wait(ctx, &words); err != nil {
		s.abandoned.Add(1)
		if s.ipc.Err() != nil {
			s.lost(err)
		} else {
			go s.outlive(f)
		}
		return storage.Reply{}, failure(&f.request, err)
	}
	s.release(f)
	plain := [7]uint64(words)
	reply := storage.DecodeReply(&plain, f.request.Length)
	if reply.Kind == storage.KindOK && f.request.Op.Transfers() && reply.Done != f.request.Length {
		reply.Kind = storage.KindIO
	}
	if reply.Kind == storage.KindOK {
		return reply, nil
	}
	e := &storage.Error{Kind: reply.Kind, Op: f.request.Op, Offset: f.request.Offset, Length: f.request.Length}
	if reply.Errno != 0 {
		e.Err = syscall.Errno(reply.Errno)
	}
	return reply, e
}

// outlive waits for the answer to a request that its caller has given up. There
// is at most one of these goroutines a slot.
func (s *Session) outlive(f *flight) {
	if err := f.call.Wait(context.Background(), nil); err != nil {
		s.lost(err)
		return
	}
	s.release(f)
}

// lost ends a flight that nobody will answer. Its slot is of no use, and its
// memory stays the server's until the supervisor says otherwise; whoever waits
// for either learns of the end.
func (s *Session) lost(err error) {
	s.buffers.Fail(err)
	<-s.slots
}

// call makes one request without data.
func (s *Session) call(ctx context.Context, r storage.Request) (storage.Reply, error) {
	f := &flight{request: r}
	if err := s.slot(ctx, &r); err != nil {
		return storage.Reply{}, err
	}
	if err := s.start(ctx, f); err != nil {
		return storage.Reply{}, err
	}
	return s.wait(ctx, f)
}

// slot waits for the right to start a request. The caller holds nothing.
func (s *Session) slot(ctx context.Context, r *storage.Request) error {
	if s.trySlot() {
		return nil
	}
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return failure(r, ctx.Err())
	}
}

func (s *Session) trySlot() bool {
	select {
	case s.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

// failure makes a storage error of one of ipc or of a context.
func failure(r *storage.Request, err error) error {
	kind := storage.KindClosed
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		kind = storage.KindCanceled
	}
	return &storage.Error{Kind: kind, Op: r.Op, Offset: r.Offset, Length: r.Length, Err: err}
}
