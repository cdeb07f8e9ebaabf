package crashtest

import (
	"fmt"
	"os"
	"testing"
)

// File is a storage.Volume on an image file, for tests that share the image
// with other programs.
type File struct {
	file *os.File
	size int64
}

// OpenFile opens an image file; it is closed when the test ends.
func OpenFile(t testing.TB, path string) *File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return &File{file: f, size: info.Size()}
}

// ReadAt implements storage.Volume.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.file.ReadAt(p, off) }

// WriteAt implements storage.Volume. It does not make the file longer.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.size {
		return 0, fmt.Errorf("write of %d bytes at %d is beyond the image's %d bytes", len(p), off, f.size)
	}
	return f.file.WriteAt(p, off)
}

// Flush implements storage.Volume. Other programs see what was written without
// it, and tests do not cut the power of this machine, so it does nothing.
func (f *File) Flush() error { return nil }

// Discard implements storage.Volume.
func (f *File) Discard(off, length int64) error { return nil }

// WriteZeroes implements storage.Volume.
func (f *File) WriteZeroes(off, length int64) error {
	_, err := f.WriteAt(make([]byte, length), off)
	return err
}

// Size implements storage.Volume.
func (f *File) Size() int64 { return f.size }

// BlockSize implements storage.Volume.
func (f *File) BlockSize() int { return Grain }

// Writable implements storage.Volume.
func (f *File) Writable() bool { return true }
