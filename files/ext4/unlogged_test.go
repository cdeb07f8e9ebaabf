package ext4_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
)

// copyOf copies an image as it is now, as the death of a process leaves it.
func copyOf(t *testing.T, path string) string {
	t.Helper()
	from, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.CreateTemp(t.TempDir(), "image")
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	return to.Name()
}

// TestWithoutAJournal kills the process that has a volume without a journal open. What
// was synced is home and sound; what was not is e2fsck's to mend, with what was synced
// still there; and the volume says meanwhile that it was not closed.
func TestWithoutAJournal(t *testing.T) {
	for _, v := range [][]string{{"-O", "^has_journal"}, {"-O", "^has_journal,^extent,^64bit,^metadata_csum,^huge_file", "-I", "128", "-b", "1024"}} {
		t.Run(fmt.Sprint(v), func(t *testing.T) {
			path := ext4test.Mkfs(t, 64<<20, v...)
			volume, err := image.Open(path, true)
			if err != nil {
				t.Fatal(err)
			}
			defer volume.Close()
			f, err := ext4.Open(volume, ext4.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if sb, err := ext4.ReadSuperblock(volume); err != nil || sb.State&disk.StateValid != 0 || sb.Has(0, disk.IncompatRecover, 0) {
				t.Errorf("while it is open the volume is in state %#x, %v", sb.State, err)
			}
			r := rand.New(rand.NewPCG(1, 2))
			content := make([]byte, 300_000)
			for i := range content {
				content[i] = byte(r.Uint32())
			}
			var last uint32
			synced := make(map[string]uint32)
			work := func(from, to int) {
				for k := from; k < to; k++ {
					op := ext4.Op{Now: testNow, Privileged: true, Decision: &ext4.Decision{}}
					name := fmt.Sprint("file ", k)
					a, err := f.Create(&op, ext4.Root, name, 0o644)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := f.WriteAt(&op, a.Ino, content[:1000*(1+k%100)], int64(k)); err != nil {
						t.Fatal(err)
					}
					synced[name], last = a.Ino, op.Decision.Last()
					if k%3 == 0 {
						if err := f.Unlink(&op, ext4.Root, name); err != nil {
							t.Fatal(err)
						}
						delete(synced, name)
					}
				}
			}
			work(0, 200)
			if f.Committed(last) {
				t.Error("what was not synced counts as durable")
			}
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
			if !f.Committed(last) {
				t.Error("what was synced does not count as durable")
			}
			ext4test.Fsck(t, copyOf(t, path))

			all := synced
			synced = make(map[string]uint32)
			work(200, 300)
			one := all["file 1"]
			op := ext4.Op{Now: testNow, Privileged: true}
			if _, err := f.WriteAt(&op, one, content, 0); err != nil {
				t.Fatal(err)
			}
			if err := f.Fsync(one); err != nil {
				t.Fatal(err)
			}
			dead := copyOf(t, path)
			if out, code := ext4test.Run(t, "e2fsck", "-fy", dead); code > 1 {
				t.Fatalf("e2fsck cannot mend it (status %d):\n%s", code, out)
			}
			found, err := image.Open(dead, true)
			if err != nil {
				t.Fatal(err)
			}
			defer found.Close()
			g, err := ext4.Open(found, ext4.Options{})
			if err != nil {
				t.Fatal(err)
			}
			for name := range all {
				ino, err := g.Walk("/"+name, false)
				if err != nil {
					t.Fatalf("%s was synced: %v", name, err)
				}
				if name != "file 1" {
					continue
				}
				got := make([]byte, len(content))
				if n, err := g.ReadAt(ino, got, 0); n != len(got) || !bytes.Equal(got, content) {
					t.Errorf("%d bytes of a file that was synced, %v", n, err)
				}
			}
			if err := g.Close(); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			ext4test.Fsck(t, path)
			if sb, err := ext4.ReadSuperblock(volume); err != nil || sb.State != disk.StateValid {
				t.Errorf("a closed volume is in state %#x, %v", sb.State, err)
			}
		})
	}
}
