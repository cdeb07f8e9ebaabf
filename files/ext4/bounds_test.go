package ext4_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
	"github.com/quintet-os/quintet/internal/testenv"
)

func openNew(t testing.TB, size int64, o ext4.FormatOptions) (*ext4.FS, *image.Memory) {
	t.Helper()
	m := image.NewMemory(size)
	o.Now, o.Zeroed = testNow, true
	if err := ext4.Format(m, o); err != nil {
		t.Fatal(err)
	}
	f, err := ext4.Open(m, ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return f, m
}

func closeClean(t testing.TB, f *ext4.FS, m *image.Memory) {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	mustBeClean(t, m)
	ext4test.Fsck(t, writeImage(t, m))
}

// TestMoreSubdirectoriesThanLinks makes a directory whose links cannot be
// counted, and takes it back.
func TestMoreSubdirectoriesThanLinks(t *testing.T) {
	testenv.Unraced(t)
	f, m := openNew(t, 512<<20, ext4.FormatOptions{BlockSize: 1024, BytesPerInode: 4096})
	op := &ext4.Op{Now: testNow, Privileged: true}
	d, err := f.Mkdir(op, ext4.Root, "dir", 0o755)
	if err != nil {
		t.Fatal(err)
	}
	const n = 65_010
	for i := range n {
		if _, err := f.Mkdir(op, d.Ino, fmt.Sprint(i), 0o755); err != nil {
			t.Fatal(i, err)
		}
	}
	if a, _ := f.Stat(d.Ino); a.Links != 1 {
		t.Fatalf("%d links, want 1: too many to count", a.Links)
	}
	file, err := f.Create(op, ext4.Root, "file", 0o644)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		err := f.Link(op, file.Ino, d.Ino, fmt.Sprintf("link%d", i))
		if i >= 64_999 {
			if ext4.KindOf(err) != ext4.KindTooManyLinks {
				t.Fatalf("link %d: %v, want %v", i, err, ext4.KindTooManyLinks)
			}
			break
		}
		if err != nil {
			t.Fatal(i, err)
		}
	}
	closeClean(t, f, m)
	if f, err = ext4.Open(m, ext4.Options{}); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := f.Rmdir(op, d.Ino, fmt.Sprint(i)); err != nil {
			t.Fatal(i, err)
		}
	}
	closeClean(t, f, m)
}

// TestIndexOfTwoLevels fills a directory until its index has split inside, and
// then until there is no room in it.
func TestIndexOfTwoLevels(t *testing.T) {
	testenv.Unraced(t)
	f, m := openNew(t, 512<<20, ext4.FormatOptions{BlockSize: 1024, BytesPerInode: 1 << 20})
	op := &ext4.Op{Now: testNow, Privileged: true}
	d, err := f.Mkdir(op, ext4.Root, "dir", 0o755)
	if err != nil {
		t.Fatal(err)
	}
	file, err := f.Create(op, ext4.Root, "file", 0o644)
	if err != nil {
		t.Fatal(err)
	}
	want := 20_000
	if !testing.Short() {
		want = 1 << 20 // until it is full
	}
	made := 0
	for ; made < want; made++ {
		if made%60_000 == 59_999 { // a file has 65,000 names at most
			if file, err = f.Create(op, ext4.Root, fmt.Sprintf("file%d", made), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		err := f.Link(op, file.Ino, d.Ino, fmt.Sprintf("%0240d", made))
		if ext4.KindOf(err) == ext4.KindNoSpace && made > 20_000 {
			break
		}
		if err != nil {
			t.Fatal(made, err)
		}
	}
	t.Logf("%d names", made)
	for i := 0; i < made; i += 97 {
		if _, err := f.Lookup(d.Ino, fmt.Sprintf("%0240d", i)); err != nil {
			t.Fatal(err)
		}
	}
	listed := 0
	if err := f.ReadDir(d.Ino, 0, func(ext4.DirEntry) bool { listed++; return true }); err != nil || listed != made+2 {
		t.Fatalf("%d entries listed of %d, %v", listed, made+2, err)
	}
	closeClean(t, f, m)
	if f, err = ext4.Open(m, ext4.Options{}); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < made; i += 2 {
		if err := f.Unlink(op, d.Ino, fmt.Sprintf("%0240d", i)); err != nil {
			t.Fatal(err)
		}
	}
	closeClean(t, f, m)
}

// TestLargeOffsets writes beyond 2 and 4 GiB, and at the very end of what
// extents can map, on a volume of 16 TiB and more.
func TestLargeOffsets(t *testing.T) {
	size := int64(17 << 40)
	if testing.Short() {
		size = 1 << 40
	}
	// Few file systems hold files of this size; tmpfs does.
	dir, err := os.MkdirTemp("/dev/shm", "ext4")
	if err != nil {
		testenv.Skip(t, "needs /dev/shm for a sparse file of 17 TiB")
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "image")
	v, err := image.Create(path, size)
	if err != nil {
		t.Fatal(err)
	}
	if err := ext4.Format(v, ext4.FormatOptions{Now: testNow, Zeroed: true, BytesPerInode: 64 << 20, JournalBlocks: 8192}); err != nil {
		t.Fatal(err)
	}
	f, err := ext4.Open(v, ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	op := &ext4.Op{Now: testNow}
	a, err := f.Create(op, ext4.Root, "file", 0o644)
	if err != nil {
		t.Fatal(err)
	}
	const end = (1<<32 - 1) << 12
	text := []byte("the content at a great offset")
	for _, off := range []int64{0, 2<<30 - 5, 4<<30 - 7, 1 << 43, end - int64(len(text))} {
		if _, err := f.WriteAt(op, a.Ino, text, off); err != nil {
			t.Fatalf("at %d: %v", off, err)
		}
		p := make([]byte, len(text))
		if _, err := f.ReadAt(a.Ino, p, off); err != nil || !bytes.Equal(p, text) {
			t.Fatalf("at %d: %q, %v", off, p, err)
		}
	}
	if _, err := f.WriteAt(op, a.Ino, text, end); ext4.KindOf(err) != ext4.KindTooBig {
		t.Fatalf("past the end: %v", err)
	}
	if off, err := f.SeekData(a.Ino, 1<<40); err != nil || off != 1<<43 {
		t.Fatalf("data is at %d, %v", off, err)
	}
	if off, err := f.SeekHole(a.Ino, 1<<43); err != nil || off != 1<<43+4096 {
		t.Fatalf("a hole is at %d, %v", off, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	v.Close()
	mounted, _ := ext4test.Mount(t, path, "ro")
	file, err := os.Open(filepath.Join(mounted, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p := make([]byte, len(text))
	if _, err := file.ReadAt(p, 1<<43); err != nil || !bytes.Equal(p, text) {
		t.Fatalf("the kernel reads %q, %v", p, err)
	}
}
