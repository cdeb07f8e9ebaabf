package demo

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// header is the first block of the volume: where the index lies.
//
//	bytes 0-7 magic, 8-15 offset, 16-23 length, 24-55 SHA-256 of the index
const headerMagic = 0x6f6d65642d747571 // "qut-demo"

// writeIndex stores the index and then the header, through the volume like
// everything else.
func (a *application) writeIndex(ctx context.Context, files []File) error {
	index, err := json.Marshal(files)
	if err != nil {
		return err
	}
	header := make([]byte, blockBytes)
	binary.LittleEndian.PutUint64(header, headerMagic)
	binary.LittleEndian.PutUint64(header[8:], uint64(a.plan.Index))
	binary.LittleEndian.PutUint64(header[16:], uint64(len(index)))
	sum := sha256.Sum256(index)
	copy(header[24:], sum[:])
	padded := make([]byte, roundUp(int64(len(index))))
	copy(padded, index)
	if !a.writeAt(ctx, padded, a.plan.Index) || !a.flush(ctx) || !a.writeAt(ctx, header, 0) || !a.flush(ctx) {
		return errors.New("the index could not be written: " + a.problem)
	}
	return nil
}

func (a *application) readIndex(ctx context.Context) ([]File, error) {
	header := make([]byte, blockBytes)
	if !a.readAt(ctx, header, 0) {
		return nil, errors.New("the header could not be read")
	}
	offset, length := int64(binary.LittleEndian.Uint64(header[8:])), int64(binary.LittleEndian.Uint64(header[16:]))
	if binary.LittleEndian.Uint64(header) != headerMagic || offset < 0 || length < 0 || length > a.volume.Size() {
		return nil, errors.New("the volume has no header")
	}
	index := make([]byte, roundUp(length))
	if !a.readAt(ctx, index, offset) {
		return nil, errors.New("the index could not be read")
	}
	if sum := sha256.Sum256(index[:length]); string(sum[:]) != string(header[24:24+len(sum)]) {
		return nil, errors.New("the index is not what was written")
	}
	var files []File
	if err := json.Unmarshal(index[:length], &files); err != nil {
		return nil, fmt.Errorf("the index: %w", err)
	}
	return files, nil
}

// readBack reads all files that the index names and compares their hashes.
func (a *application) readBack(ctx context.Context) error {
	files, err := a.readIndex(ctx)
	if err != nil {
		a.lost.Add(1)
		a.note("%v", err)
		return ctx.Err()
	}
	var next atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			chunk := make([]byte, chunkBytes)
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(files) {
					return
				}
				a.check(ctx, &files[i], chunk)
			}
		})
	}
	group.Wait()
	a.passes.Add(1)
	return ctx.Err()
}

func (a *application) check(ctx context.Context, f *File, chunk []byte) {
	hash := sha256.New()
	for at := int64(0); at < f.Size; at += chunkBytes {
		n := min(f.Size-at, chunkBytes)
		if !a.readAt(ctx, chunk[:roundUp(n)], f.Offset+at) {
			return // counted as lost
		}
		hash.Write(chunk[:n])
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != f.SHA256 {
		a.mismatched.Add(1)
		a.note("%s: read back with hash %s, written with %s", f.Path, got, f.SHA256)
	}
}
