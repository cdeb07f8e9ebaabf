package ext4_test

import (
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/crashtest"
	"github.com/quintet-os/quintet/files/ext4/image"
	"github.com/quintet-os/quintet/internal/testenv"
)

// heap is what is reachable, in bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC() // pools give back what they hold at the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestMemoryStaysWithinTheBound uses many more inodes and blocks than may be
// kept, and looks at what the library says it keeps and at the heap.
func TestMemoryStaysWithinTheBound(t *testing.T) {
	testenv.Unraced(t)
	const bound = 4 << 20
	files := 60_000
	if testing.Short() {
		files = 20_000
	}
	v, err := image.Create(filepath.Join(t.TempDir(), "image"), 256<<20) // not in the heap
	must(t, err)
	defer v.Close()
	must(t, ext4.Format(v, ext4.FormatOptions{Now: testNow, Zeroed: true, BytesPerInode: 2048}))
	before := heap()
	f, err := ext4.Open(v, ext4.Options{CacheBytes: bound})
	must(t, err)
	op := &ext4.Op{Now: testNow, Privileged: true}
	var inos []uint32
	look := func(when string) {
		t.Helper()
		must(t, f.Sync())
		if kept := f.Statfs().BytesCached; kept > bound {
			t.Errorf("%s: keeps %d bytes, the bound is %d", when, kept, bound)
		}
		// Dirty blocks, the journal's lists and the groups come on top.
		if grown := heap() - before - int64(cap(inos))*4; grown > 3*bound {
			t.Errorf("%s: the heap has grown by %d bytes, the bound is %d", when, grown, bound)
		}
	}
	for n := range files {
		a, err := f.Create(op, ext4.Root, fmt.Sprintf("file %d", n), 0o644)
		must(t, err)
		inos = append(inos, a.Ino)
	}
	look("after making files")
	for _, ino := range inos {
		_, err := f.Stat(ino)
		must(t, err)
	}
	look("after looking at files")
	held := inos[:10_000] // by far more than the bound
	for _, ino := range held {
		must(t, f.Hold(ino))
	}
	for _, ino := range inos {
		_, err := f.Stat(ino)
		must(t, err)
	}
	if kept := f.Statfs().BytesCached; kept < int64(len(held))*256 {
		t.Errorf("%d bytes for %d inodes in use", kept, len(held))
	}
	for _, ino := range held {
		must(t, f.Release(op, ino))
	}
	look("after holding many")
	must(t, f.Close())
}

// TestFsyncOfAForgottenInode drops an inode from memory before its fsync, which
// must make durable what the transaction did that it no longer knows of.
func TestFsyncOfAForgottenInode(t *testing.T) {
	v := crashtest.NewImage(64 << 20)
	must(t, ext4.Format(v, ext4.FormatOptions{BlockSize: 1024, Now: testNow, Zeroed: true, BytesPerInode: 4096}))
	op := &ext4.Op{Now: testNow, Privileged: true}
	o := ext4.Options{CacheBytes: 64 << 10, Now: func() time.Time { return testNow }}
	f, err := ext4.Open(v, o)
	must(t, err)
	var others []uint32
	for n := range 3000 {
		a, err := f.Create(op, ext4.Root, fmt.Sprint("other", n), 0o644)
		must(t, err)
		others = append(others, a.Ino)
	}
	must(t, f.Close())
	recorder := crashtest.NewRecorder(v)
	f, err = ext4.Open(recorder, o)
	must(t, err)
	a, err := f.Create(op, ext4.Root, "file", 0o644)
	must(t, err)
	for _, ino := range others {
		_, err := f.Stat(ino)
		must(t, err)
	}
	must(t, f.Fsync(a.Ino))
	recorder.Mark("fsynced")
	found := 0
	_, err = recorder.States(crashtest.Sweep{Tear: 1024, Samples: 5, Workers: 1}, func(s crashtest.State) error {
		if len(s.Marks) == 0 {
			return nil
		}
		found++
		f, err := ext4.Open(s.Image, o)
		if err != nil {
			return err
		}
		if _, err := f.Lookup(ext4.Root, "file"); err != nil {
			return err
		}
		return f.Close()
	})
	must(t, err)
	if found == 0 {
		t.Fatal("there was no state after the fsync")
	}
}
