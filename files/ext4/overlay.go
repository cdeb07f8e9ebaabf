package ext4

import (
	"bytes"
	"sync"

	"github.com/quintet-os/quintet/storage"
)

// overlayUnit is what an overlay copies at a time, in bytes: the least block.
const overlayUnit = 1024

// overlay is a volume whose changes stay in memory.
type overlay struct {
	storage.Volume
	mu    sync.RWMutex
	units map[int64][]byte
}

func newOverlay(v storage.Volume) *overlay { return &overlay{Volume: v, units: map[int64][]byte{}} }

// ReadAt implements storage.Volume.
func (o *overlay) ReadAt(p []byte, off int64) (int, error) {
	n, err := o.Volume.ReadAt(p, off)
	if err != nil {
		return n, err
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	for done := 0; done < len(p); {
		at := off + int64(done)
		in := int(at % overlayUnit)
		k := min(overlayUnit-in, len(p)-done)
		if u := o.units[at/overlayUnit]; u != nil {
			copy(p[done:done+k], u[in:])
		}
		done += k
	}
	return len(p), nil
}

// WriteAt implements storage.Volume.
func (o *overlay) WriteAt(p []byte, off int64) (int, error) {
	for done := 0; done < len(p); {
		at := off + int64(done)
		in := int(at % overlayUnit)
		k := min(overlayUnit-in, len(p)-done)
		o.mu.RLock()
		u := o.units[at/overlayUnit]
		o.mu.RUnlock()
		if u == nil {
			u = make([]byte, overlayUnit)
			if k < overlayUnit {
				if _, err := o.Volume.ReadAt(u, at-int64(in)); err != nil {
					return done, err
				}
			}
		}
		o.mu.Lock()
		copy(u[in:], p[done:done+k])
		o.units[at/overlayUnit] = u
		o.mu.Unlock()
		done += k
	}
	return len(p), nil
}

// blocks returns the blocks of size bytes that have changed, by number.
func (o *overlay) blocks(size int) (map[uint64][]byte, error) {
	blocks := map[uint64][]byte{}
	for unit := range o.units {
		n := uint64(unit) * overlayUnit / uint64(size)
		if blocks[n] != nil {
			continue
		}
		p := make([]byte, size)
		if _, err := o.ReadAt(p, int64(n)*int64(size)); err != nil {
			return nil, err
		}
		blocks[n] = p
	}
	return blocks, nil
}

// Flush implements storage.Volume.
func (o *overlay) Flush() error { return nil }

// Discard implements storage.Volume.
func (o *overlay) Discard(off, length int64) error { return nil }

// WriteZeroes implements storage.Volume.
func (o *overlay) WriteZeroes(off, length int64) error {
	zeros, now := make([]byte, overlayUnit), make([]byte, overlayUnit)
	for ; length > 0; off, length = off+overlayUnit, length-overlayUnit {
		n := min(length, overlayUnit)
		if _, err := o.ReadAt(now[:n], off); err != nil {
			return err
		}
		if bytes.Equal(now[:n], zeros[:n]) {
			continue // memory is kept for what is another
		}
		if _, err := o.WriteAt(zeros[:min(length, overlayUnit)], off); err != nil {
			return err
		}
	}
	return nil
}

// Writable implements storage.Volume.
func (o *overlay) Writable() bool { return true }
