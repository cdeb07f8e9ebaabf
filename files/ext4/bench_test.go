package ext4_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/image"
)

func benchFS(b *testing.B, size int64) *ext4.FS {
	b.Helper()
	v := image.NewMemory(size)
	if err := ext4.Format(v, ext4.FormatOptions{Now: testNow, Zeroed: true, JournalBlocks: 16384}); err != nil {
		b.Fatal(err)
	}
	f, err := ext4.Open(v, ext4.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	})
	return f
}

// BenchmarkMetadata counts create, rename and unlink in one directory.
func BenchmarkMetadata(b *testing.B) {
	f := benchFS(b, 4<<30)
	op := &ext4.Op{Now: testNow}
	d, err := f.Mkdir(op, ext4.Root, "dir", 0o755)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("create", func(b *testing.B) {
		for i := range b.N {
			if _, err := f.Create(op, d.Ino, fmt.Sprintf("c%d-%d", b.N, i), 0o644); err != nil {
				b.Fatal(err)
			}
			if i%10000 == 9999 { // keep the volume from running out of inodes
				b.StopTimer()
				for k := i - 9999; k <= i; k++ {
					if err := f.Unlink(op, d.Ino, fmt.Sprintf("c%d-%d", b.N, k)); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
			}
		}
	})
	b.Run("create+unlink", func(b *testing.B) {
		for i := range b.N {
			name := fmt.Sprintf("u%d", i)
			if _, err := f.Create(op, d.Ino, name, 0o644); err != nil {
				b.Fatal(err)
			}
			if err := f.Unlink(op, d.Ino, name); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("rename", func(b *testing.B) {
		names := [2]string{"one", "another"}
		_ = f.Unlink(op, d.Ino, names[1])
		_ = f.Unlink(op, d.Ino, names[0])
		if _, err := f.Create(op, d.Ino, names[0], 0o644); err != nil {
			b.Fatal(err)
		}
		at := 0
		for range b.N {
			if err := f.Rename(op, d.Ino, names[at], d.Ino, names[1-at], 0); err != nil {
				b.Fatal(err)
			}
			at = 1 - at
		}
		if err := f.Unlink(op, d.Ino, names[at]); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkLookup finds names in directories of several sizes.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f := benchFS(b, 4<<30)
			op := &ext4.Op{Now: testNow}
			d, err := f.Mkdir(op, ext4.Root, "dir", 0o755)
			if err != nil {
				b.Fatal(err)
			}
			names := make([]string, n)
			for i := range names {
				names[i] = fmt.Sprintf("name-%d", i)
				if _, err := f.Create(op, d.Ino, names[i], 0o644); err != nil {
					b.Fatal(err)
				}
			}
			rng := rand.New(rand.NewPCG(1, 1))
			b.ResetTimer()
			for range b.N {
				if _, err := f.Lookup(d.Ino, names[rng.IntN(n)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkData moves file data over a volume in memory.
func BenchmarkData(b *testing.B) {
	const size = 256 << 20
	f := benchFS(b, 1<<30)
	op := &ext4.Op{Now: testNow}
	a, err := f.Create(op, ext4.Root, "file", 0o644)
	if err != nil {
		b.Fatal(err)
	}
	run := func(name string, n int, sequential bool, do func(p []byte, off int64) (int, error)) {
		b.Run(name, func(b *testing.B) {
			p := make([]byte, n)
			b.SetBytes(int64(n))
			rng := rand.New(rand.NewPCG(1, 1))
			off := int64(0)
			for range b.N {
				if _, err := do(p, off); err != nil {
					b.Fatal(err)
				}
				if off += int64(n); off >= size || !sequential {
					off = rng.Int64N(int64(size/n)) * int64(n)
					if sequential {
						off = 0
					}
				}
			}
		})
	}
	write := func(p []byte, off int64) (int, error) { return f.WriteAt(op, a.Ino, p, off) }
	read := func(p []byte, off int64) (int, error) { return f.ReadAt(a.Ino, p, off) }
	for off := int64(0); off < size; off += 1 << 20 {
		if _, err := write(make([]byte, 1<<20), off); err != nil {
			b.Fatal(err)
		}
	}
	run("write 1 MiB", 1<<20, true, write)
	run("read 1 MiB", 1<<20, true, read)
	run("write 4 KiB random", 4096, false, write)
	run("read 4 KiB random", 4096, false, read)
}
