// Package image is file systems' volumes on plain image files and in memory:
// what commands and tests use, without servers.
//
// Concurrency: as storage.Volume demands. Trust: none is needed; a File is
// whatever the caller opened.
package image

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/quintet-os/quintet/storage"
)

// sectorBytes is the unit of reading and writing of both kinds.
const sectorBytes = 512

// File is a volume on an image file or block device.
type File struct {
	f        *os.File
	size     int64
	writable bool
}

// Open opens the file at path as a volume as long as the file.
func Open(path string, writable bool) (*File, error) {
	mode := os.O_RDONLY
	if writable {
		mode = os.O_RDWR
	}
	f, err := os.OpenFile(path, mode, 0)
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, 2)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("image: size of %s: %w", path, err)
	}
	return &File{f, size / sectorBytes * sectorBytes, writable}, nil
}

// Create makes a sparse file of size bytes, replacing what is there.
func Create(path string, size int64) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(size); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &File{f, size / sectorBytes * sectorBytes, true}, nil
}

// Close closes the file.
func (v *File) Close() error { return v.f.Close() }

func check(op storage.Op, v storage.Volume, off, length int64, change bool) error {
	e := &storage.Error{Op: op, Offset: off, Length: length}
	switch {
	case off%sectorBytes != 0 || length%sectorBytes != 0:
		e.Kind = storage.KindAlignment
	case off < 0 || length < 0 || off > v.Size() || length > v.Size()-off:
		e.Kind = storage.KindBounds
	case change && !v.Writable():
		e.Kind = storage.KindPermission
	default:
		return nil
	}
	return e
}

func failed(op storage.Op, off, length int64, err error) error {
	return &storage.Error{Kind: storage.KindIO, Op: op, Offset: off, Length: length, Err: err}
}

// ReadAt implements storage.Volume.
func (v *File) ReadAt(p []byte, off int64) (int, error) {
	if err := check(storage.OpRead, v, off, int64(len(p)), false); err != nil {
		return 0, err
	}
	n, err := v.f.ReadAt(p, off)
	if err != nil {
		return n, failed(storage.OpRead, off, int64(len(p)), err)
	}
	return n, nil
}

// WriteAt implements storage.Volume.
func (v *File) WriteAt(p []byte, off int64) (int, error) {
	if err := check(storage.OpWrite, v, off, int64(len(p)), true); err != nil {
		return 0, err
	}
	n, err := v.f.WriteAt(p, off)
	if err != nil {
		return n, failed(storage.OpWrite, off, int64(len(p)), err)
	}
	return n, nil
}

// Flush implements storage.Volume.
func (v *File) Flush() error {
	if err := v.f.Sync(); err != nil {
		return failed(storage.OpFlush, 0, 0, err)
	}
	return nil
}

// Discard implements storage.Volume; it is a hint and does nothing.
func (v *File) Discard(off, length int64) error {
	return check(storage.OpDiscard, v, off, length, true)
}

// zeroChunkBytes is written at a time by WriteZeroes.
const zeroChunkBytes = 1 << 20

var zeroChunk = make([]byte, zeroChunkBytes)

// WriteZeroes implements storage.Volume.
func (v *File) WriteZeroes(off, length int64) error {
	if err := check(storage.OpWriteZeroes, v, off, length, true); err != nil {
		return err
	}
	for length > 0 {
		n := min(length, zeroChunkBytes)
		if _, err := v.f.WriteAt(zeroChunk[:n], off); err != nil {
			return failed(storage.OpWriteZeroes, off, length, err)
		}
		off, length = off+n, length-n
	}
	return nil
}

// Size implements storage.Volume.
func (v *File) Size() int64 { return v.size }

// BlockSize implements storage.Volume.
func (v *File) BlockSize() int { return sectorBytes }

// Writable implements storage.Volume.
func (v *File) Writable() bool { return v.writable }

// pageBytes is the unit a Memory allocates in.
const pageBytes = 64 << 10

// Memory is a sparse volume in memory.
type Memory struct {
	size  int64
	pages []page
}

type page struct {
	mu   sync.RWMutex
	data []byte // nil: zeros
}

// NewMemory returns a volume of size bytes, all zero.
func NewMemory(size int64) *Memory {
	return &Memory{size: size / sectorBytes * sectorBytes, pages: make([]page, (size+pageBytes-1)/pageBytes)}
}

// Load copies the contents of p to the start of the volume.
func (v *Memory) Load(p []byte) error {
	n := len(p) / sectorBytes * sectorBytes
	_, err := v.WriteAt(p[:n], 0)
	return err
}

// each calls do for the part of every page in off..off+length, locked to read
// or to write.
func (v *Memory) each(off, length int64, write bool, do func(p *page, in, n int)) {
	for length > 0 {
		p := &v.pages[off/pageBytes]
		in := int(off % pageBytes)
		n := int(min(length, int64(pageBytes-in)))
		if write {
			p.mu.Lock()
			do(p, in, n)
			p.mu.Unlock()
		} else {
			p.mu.RLock()
			do(p, in, n)
			p.mu.RUnlock()
		}
		off, length = off+int64(n), length-int64(n)
	}
}

// ReadAt implements storage.Volume.
func (v *Memory) ReadAt(b []byte, off int64) (int, error) {
	if err := check(storage.OpRead, v, off, int64(len(b)), false); err != nil {
		return 0, err
	}
	done := 0
	v.each(off, int64(len(b)), false, func(p *page, in, n int) {
		if p.data == nil {
			clear(b[done : done+n])
		} else {
			copy(b[done:done+n], p.data[in:])
		}
		done += n
	})
	return done, nil
}

// WriteAt implements storage.Volume.
func (v *Memory) WriteAt(b []byte, off int64) (int, error) {
	if err := check(storage.OpWrite, v, off, int64(len(b)), true); err != nil {
		return 0, err
	}
	done := 0
	v.each(off, int64(len(b)), true, func(p *page, in, n int) {
		if p.data == nil {
			p.data = make([]byte, pageBytes)
		}
		copy(p.data[in:], b[done:done+n])
		done += n
	})
	return done, nil
}

// Flush implements storage.Volume.
func (v *Memory) Flush() error { return nil }

// Discard implements storage.Volume: what was discarded reads as before.
func (v *Memory) Discard(off, length int64) error {
	return check(storage.OpDiscard, v, off, length, true)
}

// WriteZeroes implements storage.Volume.
func (v *Memory) WriteZeroes(off, length int64) error {
	if err := check(storage.OpWriteZeroes, v, off, length, true); err != nil {
		return err
	}
	v.each(off, length, true, func(p *page, in, n int) {
		if n == pageBytes {
			p.data = nil
		} else if p.data != nil {
			clear(p.data[in : in+n])
		}
	})
	return nil
}

// Size implements storage.Volume.
func (v *Memory) Size() int64 { return v.size }

// BlockSize implements storage.Volume.
func (v *Memory) BlockSize() int { return sectorBytes }

// Writable implements storage.Volume.
func (v *Memory) Writable() bool { return true }

// Clone copies the volume as it is.
func (v *Memory) Clone() *Memory {
	c := NewMemory(v.size)
	for i := range v.pages {
		v.pages[i].mu.RLock()
		c.pages[i].data = append([]byte(nil), v.pages[i].data...)
		v.pages[i].mu.RUnlock()
	}
	return c
}

// WriteFile stores the volume as a sparse image file.
func (v *Memory) WriteFile(path string) error {
	f, err := Create(path, v.size)
	if err != nil {
		return err
	}
	for i := range v.pages {
		p := &v.pages[i]
		p.mu.RLock()
		if p.data != nil {
			_, err = f.f.WriteAt(p.data[:min(pageBytes, v.size-int64(i)*pageBytes)], int64(i)*pageBytes)
		}
		p.mu.RUnlock()
		if err != nil {
			break
		}
	}
	return errors.Join(err, f.Close())
}
