package crashtest

import (
	"errors"
	"fmt"
	"os"
	"sync"
)

// Grain is the size in bytes of a page: what the device writes whole.
const Grain = 1024

type page [Grain]byte

var zeroPage page

// Image is a storage.Volume in memory whose copies share pages. Pages that were
// never written read as zero and take no memory.
type Image struct {
	mu    sync.RWMutex
	base  []*page       // never changed: shared with other images; nil: zero
	over  map[int]*page // pages that differ from base
	owned map[int]bool  // pages of over that no copy shares, and that may be written in place
	size  int64
}

// NewImage returns an image of zeroes; size is in bytes, a multiple of Grain.
func NewImage(size int64) *Image {
	return &Image{base: make([]*page, size/Grain), over: map[int]*page{}, owned: map[int]bool{}, size: size}
}

// FromBytes returns an image with a copy of the content.
func FromBytes(content []byte) *Image {
	m := NewImage(int64(len(content)))
	for i := range m.base {
		if p := page(content[i*Grain:]); p != zeroPage {
			m.base[i] = &p
		}
	}
	return m
}

// Bytes returns a copy of the content.
func (m *Image) Bytes() []byte {
	p := make([]byte, m.size)
	if _, err := m.ReadAt(p, 0); err != nil {
		panic(err)
	}
	return p
}

// WriteFile writes the content to a file, sparsely.
func (m *Image) WriteFile(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	err = f.Truncate(m.size)
	for i := range m.base {
		if p := m.at(i); err == nil && p != &zeroPage {
			_, err = f.WriteAt(p[:], int64(i)*Grain)
		}
	}
	return errors.Join(err, f.Close())
}

// ReadFile returns an image with the content of a file.
func ReadFile(path string) (*Image, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return FromBytes(content), nil
}

// flattenPages is how far an image may differ from its base before a copy gets
// a base of its own.
const flattenPages = 512

// Clone returns a copy; each may be changed without the other seeing it.
func (m *Image) Clone() *Image {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.over) > flattenPages {
		base := append([]*page(nil), m.base...)
		for i, p := range m.over {
			base[i] = p
		}
		m.base, m.over = base, map[int]*page{}
	}
	clear(m.owned)
	over := make(map[int]*page, len(m.over))
	for i, p := range m.over {
		over[i] = p
	}
	return &Image{base: m.base, over: over, owned: map[int]bool{}, size: m.size}
}

func (m *Image) check(n int, off int64) error {
	if off < 0 || off%Grain != 0 || n%Grain != 0 || off+int64(n) > m.size {
		return fmt.Errorf("crashtest: %d bytes at %d are not whole pages of an image of %d bytes", n, off, m.size)
	}
	return nil
}

// at returns a page's content; m.mu is held.
func (m *Image) at(i int) *page {
	if p := m.over[i]; p != nil {
		return p
	}
	if p := m.base[i]; p != nil {
		return p
	}
	return &zeroPage
}

// ReadAt implements storage.Volume.
func (m *Image) ReadAt(p []byte, off int64) (int, error) {
	if err := m.check(len(p), off); err != nil {
		return 0, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	for n := 0; n < len(p); n += Grain {
		copy(p[n:], m.at(int((off + int64(n)) / Grain))[:])
	}
	return len(p), nil
}

// WriteAt implements storage.Volume.
func (m *Image) WriteAt(p []byte, off int64) (int, error) {
	if err := m.check(len(p), off); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for n := 0; n < len(p); n += Grain {
		i := int((off + int64(n)) / Grain)
		if !m.owned[i] {
			m.over[i], m.owned[i] = new(page), true
		}
		copy(m.over[i][:], p[n:])
	}
	return len(p), nil
}

// Flush implements storage.Volume.
func (m *Image) Flush() error { return nil }

// Discard implements storage.Volume. What is discarded reads as zero.
func (m *Image) Discard(off, length int64) error { return m.WriteZeroes(off, length) }

// WriteZeroes implements storage.Volume.
func (m *Image) WriteZeroes(off, length int64) error {
	if err := m.check(0, off); err != nil {
		return err
	}
	if err := m.check(int(length), off); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := int(off / Grain); i < int((off+length)/Grain); i++ {
		m.over[i] = &zeroPage
		delete(m.owned, i)
	}
	return nil
}

// Size implements storage.Volume.
func (m *Image) Size() int64 { return m.size }

// BlockSize implements storage.Volume.
func (m *Image) BlockSize() int { return Grain }

// Writable implements storage.Volume.
func (m *Image) Writable() bool { return true }
