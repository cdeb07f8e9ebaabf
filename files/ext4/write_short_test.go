package ext4_test

import (
	"bytes"
	"os"
	"slices"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
)

// TestWritesThatDoNotFitSayHowFarTheyCame fills the holes of a file, block by block, on
// volumes with room for the data but not for all that leads to it: what WriteAt says was
// written is the file's, also on the volume, and nothing else has become part of it.
func TestWritesThatDoNotFitSayHowFarTheyCame(t *testing.T) {
	// The first hole needs blocks of pointers, which lie before the others have theirs.
	const block, first, singles = 1024, 1100, 400
	const holes = first + singles
	// Without extents nothing is kept for metadata.
	before := image.NewMemory(16 << 20)
	content, err := os.ReadFile(ext4test.Mkfs(t, 16<<20, append(slices.Clone(ext3), "-b", "1024", "-m", "0")...))
	if err == nil {
		err = before.Load(content)
	}
	if err != nil {
		t.Fatal(err)
	}
	op := &ext4.Op{Now: testNow, Privileged: true}
	f, err := ext4.Open(before, ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	file, err := f.Create(op, ext4.Root, "file", 0o644)
	if err != nil {
		t.Fatal(err)
	}
	filler, err := f.Create(op, ext4.Root, "filler", 0o644)
	if err != nil {
		t.Fatal(err)
	}
	old := bytes.Repeat([]byte{1}, block)
	for k := range singles {
		if _, err := f.WriteAt(op, file.Ino, old, int64(first+2*k+1)*block); err != nil {
			t.Fatal(err)
		}
	}
	const most = 80
	if _, err := f.WriteAt(op, filler.Ino, make([]byte, (int(f.Statfs().Free)-holes-2*most)*block), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte{2}, (first+2*singles)*block)
	short := 0
	for extra := int64(0); extra < most; extra += 2 {
		volume := before.Clone()
		if f, err = ext4.Open(volume, ext4.Options{}); err != nil {
			t.Fatal(err)
		}
		for off := int64(12 << 20); int64(f.Statfs().Free) > holes+extra; off += block {
			if _, err := f.WriteAt(op, filler.Ino, old, off); err != nil {
				t.Fatal(err)
			}
		}
		n, err := f.WriteAt(op, file.Ino, data, 0)
		switch {
		case err == nil && n != len(data), err != nil && ext4.KindOf(err) != ext4.KindNoSpace:
			t.Fatalf("%d blocks to spare: %d bytes, %v", extra, n, err)
		case err != nil && n > 0:
			short++
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if f, err = ext4.Open(volume, ext4.Options{ReadOnly: true}); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(data))
		if _, err := f.ReadAt(file.Ino, got, 0); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got[:n], data[:n]) {
			t.Fatalf("%d blocks to spare: not all of the %d bytes said to be written are", extra, n)
		}
		for at := max(first*block, (n+2*block-1)/(2*block)*2*block); at < len(got); at += 2 * block {
			if got[at] != 0 {
				t.Fatalf("%d blocks to spare: %d bytes were written, and the hole at %d is filled", extra, n, at)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		mustBeClean(t, volume)
	}
	if short == 0 {
		t.Fatal("no write was cut short")
	}
}
