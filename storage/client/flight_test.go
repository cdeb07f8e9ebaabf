package client_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc"
	"github.com/quintet-os/quintet/storage"
	"github.com/quintet-os/quintet/storage/client"
	"github.com/quintet-os/quintet/storage/device"
	"github.com/quintet-os/quintet/storage/storagetest"
)

const (
	piece     = 256 << 10 // of a copied transfer
	pieces    = 8         // of one transfer in flight
	testBlock = 512
)

// rig is one client of a server whose device does as it is told.
type rig struct {
	*storagetest.Session
	t      *testing.T
	server *storagetest.Server
	device *device.Tampered
	volume *client.Volume
	ops    []storage.Operation // handed to the device, in order
	data   []byte
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, data: make([]byte, volumeBytes)}
	r.server = storagetest.Start(t, storage.Limits{}, func() (storage.Device, error) {
		memory, err := device.NewMemory(r.data, testBlock, 256)
		r.device = device.Tamper(memory)
		return r.device, err
	})
	r.Session = r.server.Connect(storagetest.Grant{})
	r.volume = r.Volumes[0]
	r.Decide(func(*storage.Operation) device.Verdict { return device.Verdict{} })
	return r
}

// Decide sets what the device does.
func (r *rig) Decide(f func(op *storage.Operation) device.Verdict) {
	r.server.On(func() {
		r.device.Decide = func(op *storage.Operation) device.Verdict {
			r.ops = append(r.ops, *op)
			return f(op)
		}
	})
}

func (r *rig) Hold() {
	r.Decide(func(*storage.Operation) device.Verdict { return device.Verdict{Hold: true} })
}

// Release lets n operations go on.
func (r *rig) Release(n int) { r.server.On(func() { r.device.Release(n) }) }

// Held waits until the device holds n operations.
func (r *rig) Held(n int) {
	for held := -1; held != n; {
		r.server.On(func() { held = r.device.Held() })
	}
}

// room reports whether the pool has n bytes left.
func (r *rig) room(n int) bool {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	b, err := r.Client.Buffers().Get(ended, n)
	if err == nil {
		b.Release()
	}
	return err == nil
}

func wantKind(t *testing.T, what string, err error, kind storage.Kind) {
	t.Helper()
	var typed *storage.Error
	if !errors.As(err, &typed) || typed.Kind != kind {
		t.Errorf("%s: %v, want %v", what, err, kind)
	}
}

// TestCancelledTransferKeepsItsBuffer: what was given up stays the server's until
// the answer, and an ordinary slice is not touched after the return.
func TestCancelledTransferKeepsItsBuffer(t *testing.T) {
	for name, granted := range map[string]bool{"copied": false, "granted": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.data[0] = 'A'
			r.Hold()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			slice := make([]byte, piece)
			done := make(chan error)
			go func() {
				if !granted {
					_, err := r.volume.Read(ctx, slice, 0)
					done <- err
					return
				}
				b, err := r.Client.Buffers().Get(ctx, piece)
				if err != nil {
					done <- err
					return
				}
				_, err = r.volume.ReadBuffer(ctx, b, 0, piece, 0)
				b.Release()
				done <- err
			}()
			r.Held(1)
			cancel()
			err := <-done
			wantKind(t, "a transfer given up", err, storage.KindCanceled)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v does not wrap the context's error", err)
			}
			if n := r.Client.Counters().Abandoned; n != 1 {
				t.Errorf("%d requests abandoned, want 1", n)
			}
			if r.room(storagetest.BufferBytes) || !r.room(storagetest.BufferBytes-piece) {
				t.Error("the pool does not keep back just what is the server's")
			}
			r.Release(1)
			all, err := r.Client.Buffers().Get(context.Background(), storagetest.BufferBytes)
			if err != nil {
				t.Fatal(err)
			}
			all.Release()
			if slice[0] != 0 {
				t.Error("the slice was written after the return")
			}
		})
	}
}

// TestCountersTellCopies: ordinary slices are copied once, buffers never, and
// only what was done counts.
func TestCountersTellCopies(t *testing.T) {
	r := newRig(t)
	before := r.Client.Counters()
	slice := make([]byte, 3*piece)
	b, err := r.Client.Buffers().Get(context.Background(), 2*piece)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	ctx := context.Background()
	_, err1 := r.volume.WriteAt(slice, 0)
	_, err2 := r.volume.ReadAt(slice[:piece], 0)
	_, err3 := r.volume.WriteBuffer(ctx, b, 0, 2*piece, 0, 0)
	_, err4 := r.volume.ReadBuffer(ctx, b, piece, piece, 0)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	r.Decide(func(*storage.Operation) device.Verdict { return device.Verdict{Kind: storage.KindIO, Errno: unix.EIO} })
	_, err = r.volume.ReadAt(slice[:piece], 0)
	wantKind(t, "a failed read", err, storage.KindIO)
	_, err = r.volume.ReadBuffer(ctx, b, 0, piece, 0)
	wantKind(t, "a failed read", err, storage.KindIO)
	got := r.Client.Counters()
	want := client.Counters{Requests: before.Requests + 3 + 1 + 1 + 1 + 2, Copied: 4 * piece, Direct: 3 * piece}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestLargeTransferIsPipelined: a transfer is split, a bounded number of pieces
// is in flight, and each that ends makes room for the next.
func TestLargeTransferIsPipelined(t *testing.T) {
	const extra = 3
	r := newRig(t)
	r.Hold()
	slice := make([]byte, (pieces+extra)*piece)
	for i := range slice {
		slice[i] = byte(i % 251)
	}
	done := make(chan error)
	go func() {
		_, err := r.volume.Write(context.Background(), slice, piece, storage.FlagFUA)
		done <- err
	}()
	for range extra {
		r.Held(pieces)
		r.Release(1)
	}
	r.Held(pieces)
	r.Release(pieces)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(r.data[piece:piece+len(slice)], slice) {
		t.Error("the pieces are not where they belong")
	}
	if len(r.ops) != pieces+extra {
		t.Errorf("%d operations, want %d", len(r.ops), pieces+extra)
	}
	for i, op := range r.ops {
		if op.Op != storage.OpWrite || op.Length != piece || op.Offset != int64((1+i)*piece) || op.Flags != storage.FlagFUA {
			t.Errorf("operation %d: %v of %d bytes at %d, flags %d", i, op.Op, op.Length, op.Offset, op.Flags)
		}
	}
}

// TestGrantedTransferIsSplitAtTheLimit: in a buffer, pieces are as large as the
// contract allows, and lie where the buffer lies.
func TestGrantedTransferIsSplitAtTheLimit(t *testing.T) {
	r := newRig(t)
	b, err := r.Client.Buffers().Get(context.Background(), 3*storage.TransferMax)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	length := 2*storage.TransferMax + testBlock
	if _, err := r.volume.WriteBuffer(context.Background(), b, testBlock, length, 0, 0); err != nil {
		t.Fatal(err)
	}
	at := testBlock
	for i, op := range r.ops {
		if &op.Mem[0] != &b.Mem[at] {
			t.Errorf("operation %d was not carried out in the buffer", i)
		}
		if i < 2 && op.Length != storage.TransferMax {
			t.Errorf("operation %d has %d bytes", i, op.Length)
		}
		at += int(op.Length)
	}
	if len(r.ops) != 3 || at != testBlock+length {
		t.Errorf("%d operations", len(r.ops))
	}
}

// TestPieceThatFails: what lies before it counts, its own range is named.
func TestPieceThatFails(t *testing.T) {
	r := newRig(t)
	r.Decide(func(op *storage.Operation) device.Verdict {
		if op.Offset == 4*piece {
			return device.Verdict{Kind: storage.KindNoSpace, Errno: unix.ENOSPC}
		}
		return device.Verdict{}
	})
	n, err := r.volume.WriteAt(make([]byte, 12*piece), 0)
	wantKind(t, "a write with a failed piece", err, storage.KindNoSpace)
	var typed *storage.Error
	if errors.As(err, &typed); n != 4*piece || typed.Offset != 4*piece || typed.Length != piece {
		t.Errorf("%d bytes written, %v", n, err)
	}
	if !r.room(storagetest.BufferBytes) {
		t.Error("a buffer was lost")
	}
}

// TestSessionEndWakesEverybody: one goroutine waits for an answer, one for a slot
// and one for a buffer.
func TestSessionEndWakesEverybody(t *testing.T) {
	for name, end := range map[string]func(r *rig){
		"by the server": func(r *rig) {
			r.server.On(func() { r.Served.Fail(ipc.ReasonShutdown, ""); r.Served.WakeClient() })
		},
		"by the client": func(r *rig) { _ = r.IPC.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.Hold()
			r.giveUp(storagetest.Slots - 1)
			woken := make(chan error)
			pool, err := r.Client.Buffers().Get(context.Background(), storagetest.BufferBytes)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				_, err := r.volume.ReadBuffer(context.Background(), pool, 0, testBlock, 0)
				woken <- err
			}()
			r.Held(storagetest.Slots)
			go func() { woken <- r.volume.Flush() }()
			go func() {
				_, err := r.volume.ReadAt(make([]byte, testBlock), 0)
				woken <- err
			}()
			end(r)
			for range 3 {
				wantKind(t, "after the end", <-woken, storage.KindClosed)
			}
			wantKind(t, "a later flush", r.volume.Flush(), storage.KindClosed)
			if _, err := r.Client.Buffers().Get(context.Background(), 1); err == nil {
				t.Error("a pool without a session hands out buffers")
			}
			r.Release(storagetest.Slots)
		})
	}
}

// TestSessionEndFreesSlotsGivenUp: all slots hold requests that nobody waits for
// any more, and the end of the session still reaches who waits for a slot.
func TestSessionEndFreesSlotsGivenUp(t *testing.T) {
	r := newRig(t)
	r.Hold()
	r.giveUp(storagetest.Slots)
	woken := make(chan error)
	go func() { woken <- r.volume.Flush() }()
	r.server.On(func() { r.Served.Fail(ipc.ReasonShutdown, ""); r.Served.WakeClient() })
	wantKind(t, "a flush that waits for a slot", <-woken, storage.KindClosed)
	r.Release(storagetest.Slots)
}

// giveUp fills n slots with requests that are given up.
func (r *rig) giveUp(n int) {
	ctx, cancel := context.WithCancel(context.Background())
	given := make(chan error)
	for range n {
		go func() { given <- r.volume.FlushContext(ctx) }()
	}
	r.Held(n)
	cancel()
	for range n {
		wantKind(r.t, "a flush given up", <-given, storage.KindCanceled)
	}
}
