package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/image"
	"github.com/quintet-os/quintet/storage"
)

// Kinds of sides.
const (
	sideLibrary = "library"
	sideLinux   = "linux"
	sideFuse    = "fuse2fs"
)

// namesDir is the directory that the names are in.
const namesDir = "names"

// library is a file system opened through package ext4.
type library struct {
	f      *ext4.FS
	dir    uint32
	closer io.Closer // of the image, if there is one
	stop   context.CancelFunc
	ended  chan struct{}
	took   time.Duration // to open
	before int64         // resident memory
}

// openLibrary opens the image, or makes a file system of size bytes in memory.
func openLibrary(path string, size int64) (*library, error) {
	l := &library{ended: make(chan struct{})}
	var v storage.Volume
	if path == "" {
		v = image.NewMemory(size)
		if err := ext4.Format(v, ext4.FormatOptions{Now: time.Now(), Zeroed: true}); err != nil {
			return nil, err
		}
	} else {
		file, err := image.Open(path, true)
		if err != nil {
			return nil, err
		}
		v, l.closer = file, file
	}
	debug.FreeOSMemory()
	var err error
	if l.before, err = ownMemory(); err != nil {
		return nil, err
	}
	start := time.Now()
	if l.f, err = ext4.Open(v, ext4.Options{}); err != nil {
		return nil, err
	}
	l.took = time.Since(start)
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	go func() {
		l.f.Run(ctx)
		close(l.ended)
	}()
	l.dir, err = l.f.Lookup(ext4.Root, namesDir)
	if errors.Is(err, os.ErrNotExist) {
		var made ext4.Attr
		made, err = l.f.Mkdir(l.op(), ext4.Root, namesDir, 0o755)
		l.dir = made.Ino
	}
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *library) op() *ext4.Op { return &ext4.Op{Now: time.Now(), Privileged: true} }

func (l *library) create(name string) error {
	_, err := l.f.Create(l.op(), l.dir, name, 0o644)
	return err
}

func (l *library) rename(old, new string) error {
	return l.f.Rename(l.op(), l.dir, old, l.dir, new, 0)
}

func (l *library) unlink(name string) error { return l.f.Unlink(l.op(), l.dir, name) }

func (l *library) look(name string) error {
	ino, err := l.f.Lookup(l.dir, name)
	if err == nil {
		_, err = l.f.Stat(ino)
	}
	return err
}

func (l *library) fsync(name string) error {
	ino, err := l.f.Lookup(l.dir, name)
	if err != nil {
		return err
	}
	return l.f.Fsync(ino)
}

func (l *library) sync() error { return l.f.Sync() }

func (l *library) open(name string, _ bool) (content, error) {
	ino, err := l.f.Lookup(l.dir, name)
	return &libraryFile{l, ino}, err
}

func (l *library) mountTook() time.Duration { return l.took }

// memory is what has been added since before the file system was opened.
func (l *library) memory() (int64, error) {
	now, err := ownMemory()
	return max(0, now-l.before), err
}

func (l *library) close() error {
	l.stop()
	<-l.ended
	err := l.f.Close()
	if l.closer != nil {
		err = errors.Join(err, l.closer.Close())
	}
	if err != nil {
		return fmt.Errorf("close the file system: %w", err)
	}
	return nil
}

// libraryFile is an open file of a library.
type libraryFile struct {
	l   *library
	ino uint32
}

func (f *libraryFile) ReadAt(p []byte, off int64) (int, error) { return f.l.f.ReadAt(f.ino, p, off) }
func (f *libraryFile) WriteAt(p []byte, off int64) (int, error) {
	return f.l.f.WriteAt(f.l.op(), f.ino, p, off)
}
func (f *libraryFile) Sync() error  { return f.l.f.Fsync(f.ino) }
func (f *libraryFile) Close() error { return nil }
