package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// write copies the writer's files to the volume, pass after pass until the time
// is up, and returns them with their hashes. Each pass begins by zeroing their
// place, so that what an earlier pass wrote cannot stand for a lost write.
func (a *application) write(ctx context.Context) ([]File, error) {
	files := a.plan.Files
	if len(files) == 0 {
		return nil, nil
	}
	last := files[len(files)-1]
	begin, end := files[0].Offset, last.Offset+roundUp(last.Size)
	for {
		if end > begin {
			a.zero(ctx, begin, end-begin)
		}
		if err := a.pass(ctx, files); err != nil {
			return nil, err
		}
		a.flush(ctx)
		a.passes.Add(1)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if !time.Now().Before(a.plan.Until) || a.lost.Load() > 0 {
			return files, nil
		}
	}
}

func (a *application) pass(ctx context.Context, files []File) error {
	var next atomic.Int64
	var group sync.WaitGroup
	errs := make([]error, workers)
	for worker := range workers {
		group.Go(func() {
			w := &writer{application: a, number: numberOffset(a.plan.Writer, worker)}
			for errs[worker] == nil && ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(files) {
					return
				}
				errs[worker] = w.copy(ctx, &files[i])
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// writer is one worker of a writer process.
type writer struct {
	*application
	number int64  // offset of the block with the worker's number
	count  uint64 // the number written last in this pass
	chunks int
	chunk  [chunkBytes]byte
	back   [chunkBytes]byte
}

// copy copies one file and hashes it on the way. A file that changes meanwhile
// is stored as it was read, padded or cut to the size it had.
func (w *writer) copy(ctx context.Context, f *File) error {
	source, err := os.Open(filepath.Join(w.plan.Tree, f.Path))
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	defer source.Close()
	hash := sha256.New()
	for at := int64(0); at < f.Size && ctx.Err() == nil; at += chunkBytes {
		n := int(min(f.Size-at, chunkBytes))
		got, err := io.ReadFull(source, w.chunk[:n])
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			return fmt.Errorf("copy: %w", err)
		}
		whole := w.chunk[:roundUp(int64(n))]
		clear(whole[got:])
		hash.Write(whole[:n])
		if !w.writeAt(ctx, whole, f.Offset+at) {
			return nil // counted as lost
		}
		if w.chunks++; w.chunks%verifyEvery == 0 {
			back := w.back[:len(whole)]
			if w.readAt(ctx, back, f.Offset+at) && !bytes.Equal(back, whole) {
				w.mismatched.Add(1)
				w.note("%s at %d: what was read under the storm is not what was written", f.Path, at)
			}
			w.countUp(ctx)
		}
	}
	f.SHA256 = hex.EncodeToString(hash.Sum(nil))
	return nil
}

// countUp writes the worker's next number to its block and reads it back.
func (w *writer) countUp(ctx context.Context) {
	w.count++
	block := w.back[:blockBytes]
	for i := 0; i < len(block); i += 8 {
		binary.LittleEndian.PutUint64(block[i:], w.count)
	}
	if !w.writeAt(ctx, block, w.number) {
		return
	}
	clear(block)
	if !w.readAt(ctx, block, w.number) {
		return
	}
	for i := 0; i < len(block); i += 8 {
		switch got := binary.LittleEndian.Uint64(block[i:]); {
		case got == w.count:
			continue
		case got < w.count && got > 0:
			w.duplicated.Add(1)
			w.note("wrote number %d and read %d: an older write ran again", w.count, got)
		default:
			w.mismatched.Add(1)
			w.note("wrote number %d and read %d", w.count, got)
		}
		return
	}
}
