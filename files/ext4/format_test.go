package ext4_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
)

var testNow = time.Unix(1_700_000_000, 123456789)

func TestFormatIsCleanAndMounts(t *testing.T) {
	for _, c := range []struct {
		size int64
		bs   int
		bpi  int64
	}{
		{8 << 20, 4096, 0}, {64 << 20, 4096, 0}, {200 << 20, 1024, 0}, {1 << 30, 2048, 0}, {10 << 30, 4096, 0},
		{33<<20 + 5*4096, 4096, 0}, {256 << 20, 1024, 2048}, {129 << 20, 4096, 0}, {3 << 40, 4096, 1 << 20}, {300 << 20, 4096, 4096},
	} {
		t.Run(fmt.Sprintf("%d bytes in blocks of %d", c.size, c.bs), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "image")
			v, err := image.Create(path, c.size)
			if err != nil {
				t.Fatal(err)
			}
			err = ext4.Format(v, ext4.FormatOptions{BlockSize: c.bs, BytesPerInode: c.bpi, Label: "quintet", Now: testNow, Zeroed: true})
			if err != nil {
				t.Fatal(err)
			}
			f, err := ext4.Open(v, ext4.Options{ReadOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			if ino, err := f.Walk("/lost+found", true); err != nil || ino != 11 {
				t.Fatalf("lost+found is inode %d, %v", ino, err)
			}
			f.Close()
			v.Close()
			ext4test.Fsck(t, path)
			if c.size > 1<<40 {
				return
			}
			dir, unmount := ext4test.Mount(t, path, "")
			if err := os.WriteFile(filepath.Join(dir, "file"), []byte("by the kernel"), 0o644); err != nil {
				t.Fatal(err)
			}
			unmount()
			ext4test.Fsck(t, path)
		})
	}
}

// TestFormatOverGarbage must not depend on what the volume held before.
func TestFormatOverGarbage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	garbage := make([]byte, 160<<20)
	for i := range garbage {
		garbage[i] = byte(i>>9) | 1
	}
	if err := os.WriteFile(path, garbage, 0o644); err != nil {
		t.Fatal(err)
	}
	v, err := image.Open(path, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := ext4.Format(v, ext4.FormatOptions{Now: testNow}); err != nil {
		t.Fatal(err)
	}
	v.Close()
	ext4test.Fsck(t, path)
	dir, unmount := ext4test.Mount(t, path, "")
	populate(t, dir, 100)
	unmount()
	ext4test.Fsck(t, path)
}

func TestFormatRefusesWhatIsTooSmall(t *testing.T) {
	for _, size := range []int64{512, 4096, 1 << 20, 4 << 20} {
		err := ext4.Format(image.NewMemory(size), ext4.FormatOptions{Now: testNow})
		if ext4.KindOf(err) != ext4.KindNoSpace {
			t.Errorf("%d bytes: %v, want %v", size, err, ext4.KindNoSpace)
		}
	}
}
