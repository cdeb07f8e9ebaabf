package ext4_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
)

// fullFS is a small volume with a reserve of a tenth.
func fullFS(t *testing.T) (*image.Memory, *ext4.FS) {
	t.Helper()
	volume := image.NewMemory(24 << 20)
	if err := ext4.Format(volume, ext4.FormatOptions{BlockSize: 1024, BytesPerInode: 4096, ReservedPercent: 10, Now: testNow, Zeroed: true}); err != nil {
		t.Fatal(err)
	}
	f, err := ext4.Open(volume, ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return volume, f
}

func closeWhole(t *testing.T, volume *image.Memory, f *ext4.FS) string {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	mustBeClean(t, volume)
	path := writeImage(t, volume)
	ext4test.Fsck(t, path)
	return path
}

// fillUp appends to a file until there is no space, and returns what was written.
func fillUp(t *testing.T, f *ext4.FS, ino uint32, op ext4.Op, piece int) (written int64) {
	t.Helper()
	p := bytes.Repeat([]byte{0xA5}, piece)
	for {
		n, err := f.WriteAt(&op, ino, p, written)
		written += int64(n)
		if ext4.KindOf(err) == ext4.KindNoSpace {
			return written
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheReserveIsForTheSuperuser(t *testing.T) {
	volume, f := fullFS(t)
	sb := f.Superblock()
	hidden := sb.BlocksCount / 50 // for the metadata an operation may need
	reserved := sb.ReservedBlocks
	a, err := f.Create(&ext4.Op{Now: testNow}, ext4.Root, "file", 0o644)
	if err != nil {
		t.Fatal(err)
	}
	fillUp(t, f, a.Ino, ext4.Op{Now: testNow}, 10_000)
	fillUp(t, f, a.Ino, ext4.Op{Now: testNow}, 1000)
	const nodes = 8 // of the map of the file, at most
	s := f.Statfs()
	if s.Free < reserved+hidden-nodes || s.Free > reserved+hidden || s.Available != 0 {
		t.Errorf("a user left %d blocks free, %d of them available; %d and %d are reserved", s.Free, s.Available, reserved, hidden)
	}
	if _, err := f.Mkdir(&ext4.Op{Now: testNow}, ext4.Root, "no room", 0o755); ext4.KindOf(err) != ext4.KindNoSpace {
		t.Errorf("a user's directory: %v", err)
	}
	b, err := f.Create(&ext4.Op{Now: testNow, Privileged: true}, ext4.Root, "superuser's", 0o644)
	if err != nil {
		t.Fatal(err)
	}
	fillUp(t, f, b.Ino, ext4.Op{Now: testNow, Privileged: true}, 10_000)
	fillUp(t, f, b.Ino, ext4.Op{Now: testNow, Privileged: true}, 1000)
	if s := f.Statfs(); s.Free > hidden || s.Free < hidden-2*nodes || s.Available != 0 {
		t.Errorf("the superuser left %d blocks free, %d available", s.Free, s.Available)
	}
	closeWhole(t, volume, f)
}

// TestAFullVolumeRecovers runs out of space in every kind of operation, makes
// room, and goes on; the kernel then reads what is left.
func TestAFullVolumeRecovers(t *testing.T) {
	volume, f := fullFS(t)
	op := func() *ext4.Op { return &ext4.Op{Now: testNow, Privileged: true} }
	big, err := f.Create(op(), ext4.Root, "big", 0o644)
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		const files = 60
		var inos [files]uint32
		name := func(i int) string { return fmt.Sprintf("round %d %d %s", round, i, strings.Repeat("n", 200)) }
		for i := range inos {
			a, err := f.Create(op(), ext4.Root, name(i), 0o644)
			if err != nil {
				t.Fatal(err)
			}
			inos[i] = a.Ino
		}
		fillUp(t, f, big.Ino, *op(), 50_000)
		refused := map[string]bool{}
		try := func(what string, err error) {
			switch ext4.KindOf(err) {
			case ext4.KindNoSpace, ext4.KindRange:
				refused[what] = true
			default:
				if err != nil {
					t.Fatalf("round %d: %s: %v", round, what, err)
				}
			}
		}
		for i, ino := range inos {
			_, err := f.Mkdir(op(), ext4.Root, "dir "+name(i), 0o755)
			try("mkdir", err)
			_, err = f.Symlink(op(), ext4.Root, "link "+name(i), strings.Repeat("t", 500))
			try("symlink", err)
			try("setxattr", f.SetXattr(op(), ino, "user.x", make([]byte, 800), 0))
			_, err = f.WriteAt(op(), ino, make([]byte, 3000), int64(i)*100_000)
			try("write", err)
			try("fallocate", f.Fallocate(op(), ino, ext4.Allocate, true, 1<<20, 1<<20))
			try("rename", f.Rename(op(), ext4.Root, name(i), ext4.Root, "moved "+name(i), 0))
		}
		for _, what := range []string{"mkdir", "symlink", "setxattr", "write", "fallocate"} {
			if !refused[what] {
				t.Errorf("round %d: %s was never refused, %v were", round, what, refused)
			}
		}
		mustBeClean(t, syncedClone(t, volume, f))
		if err := f.Truncate(op(), big.Ino, 100_000); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil { // what was freed is there again
			t.Fatal(err)
		}
		if n, err := f.WriteAt(op(), big.Ino, make([]byte, 1<<20), 100_000); err != nil {
			t.Fatalf("round %d: %d bytes after room was made: %v", round, n, err)
		}
		if err := f.Truncate(op(), big.Ino, 100_000); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	path := closeWhole(t, volume, f)
	dir, unmount := ext4test.Mount(t, path, "")
	content, err := os.ReadFile(filepath.Join(dir, "big"))
	if err != nil || len(content) < 100_000 || content[99_999] != 0xA5 {
		t.Errorf("the kernel reads %d bytes, %v", len(content), err)
	}
	unmount()
	ext4test.Fsck(t, path)
}

func syncedClone(t *testing.T, volume *image.Memory, f *ext4.FS) *image.Memory {
	t.Helper()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	return volume.Clone()
}

// TestUnknownFeaturesAreNamed sets a bit that nobody knows, in each class.
func TestUnknownFeaturesAreNamed(t *testing.T) {
	for _, c := range []struct {
		name         string
		set          func(*disk.Superblock)
		reads, write bool
	}{
		{"compat", func(s *disk.Superblock) { s.FeatureCompat |= 1 << 30 }, true, true},
		{"FEATURE_R30", func(s *disk.Superblock) { s.FeatureROCompat |= 1 << 30 }, true, false},
		{"FEATURE_I30", func(s *disk.Superblock) { s.FeatureIncompat |= 1 << 30 }, false, false},
		{"verity", func(s *disk.Superblock) { s.FeatureROCompat |= disk.ROCompatVerity }, true, false},
		{"bigalloc", func(s *disk.Superblock) { s.FeatureROCompat |= disk.ROCompatBigalloc }, false, false},
		{"encrypt", func(s *disk.Superblock) { s.FeatureIncompat |= disk.IncompatEncrypt }, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			volume, f := fullFS(t)
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			raw := make([]byte, disk.SuperblockSize)
			if _, err := volume.ReadAt(raw, disk.SuperblockOffset); err != nil {
				t.Fatal(err)
			}
			sb, err := disk.DecodeSuperblock(raw)
			if err != nil {
				t.Fatal(err)
			}
			c.set(sb)
			sb.Encode(raw)
			if _, err := volume.WriteAt(raw, disk.SuperblockOffset); err != nil {
				t.Fatal(err)
			}
			for _, readOnly := range []bool{true, false} {
				f, err := ext4.Open(volume, ext4.Options{ReadOnly: readOnly})
				allowed := c.write || readOnly && c.reads
				switch {
				case allowed && err != nil:
					t.Errorf("read-only %t: %v", readOnly, err)
				case !allowed && (!errors.Is(err, disk.ErrUnsupported) || !strings.Contains(err.Error(), c.name)):
					t.Errorf("read-only %t: %v, want a refusal that names %s", readOnly, err, c.name)
				}
				if err == nil {
					if err := f.Close(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}
