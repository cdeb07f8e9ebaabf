package ext4_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/crashtest"
)

// step does one random operation on few names, so that they meet.
func (r *crashRun) step(long bool) {
	name := func() string {
		n := fmt.Sprintf("n%d", r.rng.IntN(14))
		if long {
			n += strings.Repeat("x", 200)
		}
		return n
	}
	dir := func() (uint32, string) {
		paths := []string{""}
		last := r.trees[len(r.trees)-1]
		for path, file := range last {
			if strings.HasPrefix(file.attr, "mode 4") && path != "" && path != "/lost+found" {
				paths = append(paths, path)
			}
		}
		slices.Sort(paths)
		path := paths[r.rng.IntN(len(paths))]
		return last[path].ino, path
	}
	file := func() uint32 {
		var inos []uint32
		for _, f := range r.trees[len(r.trees)-1] {
			if strings.HasPrefix(f.attr, "mode 10") {
				inos = append(inos, f.ino)
			}
		}
		inos = append(inos, r.held...)
		slices.Sort(inos)
		if len(inos) == 0 {
			return 0
		}
		return inos[r.rng.IntN(len(inos))]
	}
	d, path := dir()
	n := name()
	ino := file()
	off, size := r.rng.Int64N(60_000), 1+r.rng.Int64N(20_000)
	if r.rng.IntN(2) == 0 {
		off, size = off&^4095, (size+4095)&^4095
	}
	switch r.rng.IntN(18) {
	case 0, 1, 2:
		r.do(fmt.Sprintf("create %s/%s", path, n), func() error { _, err := r.f.Create(r.op(), d, n, 0o644); return err })
	case 3:
		r.do(fmt.Sprintf("mkdir %s/%s", path, n), func() error { _, err := r.f.Mkdir(r.op(), d, n, 0o755); return err })
	case 4:
		target := strings.Repeat("t", 1+r.rng.IntN(100))
		r.do(fmt.Sprintf("symlink %s/%s", path, n), func() error { _, err := r.f.Symlink(r.op(), d, n, target); return err })
	case 5:
		if ino != 0 {
			r.do(fmt.Sprintf("link %d as %s/%s", ino, path, n), func() error { return r.f.Link(r.op(), ino, d, n) })
		}
	case 6:
		r.do(fmt.Sprintf("unlink %s/%s", path, n), func() error { return r.f.Unlink(r.op(), d, n) })
	case 7:
		r.do(fmt.Sprintf("rmdir %s/%s", path, n), func() error { return r.f.Rmdir(r.op(), d, n) })
	case 8, 9:
		d2, path2 := dir()
		n2 := name()
		flags := []ext4.RenameFlags{0, 0, ext4.NoReplace, ext4.Exchange}[r.rng.IntN(4)]
		r.do(fmt.Sprintf("rename %s/%s to %s/%s, flags %d", path, n, path2, n2, flags),
			func() error { return r.f.Rename(r.op(), d, n, d2, n2, flags) })
	case 10, 11, 12:
		if ino != 0 {
			p := make([]byte, size)
			for i := range p {
				p[i] = byte(r.rng.Uint32()) | 1
			}
			r.do(fmt.Sprintf("write %d at %d, %d bytes", ino, off, size),
				func() error { _, err := r.f.WriteAt(r.op(), ino, p, off); return err })
		}
	case 13:
		if ino != 0 {
			r.do(fmt.Sprintf("truncate %d to %d", ino, off), func() error { return r.f.Truncate(r.op(), ino, off) })
		}
	case 14:
		if ino != 0 {
			mode, keep := ext4.FallocateMode(r.rng.IntN(3)), r.rng.IntN(2) == 0
			r.do(fmt.Sprintf("fallocate %d, mode %d, keep %v at %d, %d bytes", ino, mode, keep, off, size),
				func() error { return r.f.Fallocate(r.op(), ino, mode, keep, off, size) })
		}
	case 15:
		if ino != 0 {
			key, value := fmt.Sprintf("user.k%d", r.rng.IntN(4)), []byte(strings.Repeat("v", r.rng.IntN(300)))
			r.do(fmt.Sprintf("setxattr %d %s", ino, key), func() error { return r.f.SetXattr(r.op(), ino, key, value, 0) })
		}
	case 16: // held open, perhaps beyond its last name
		if ino != 0 && len(r.held) < 3 && !slices.Contains(r.held, ino) {
			if err := r.f.Hold(ino); err != nil {
				r.t.Fatal(err)
			}
			r.held = append(r.held, ino)
		}
	case 17:
		if len(r.held) > 0 {
			ino := r.held[0]
			r.held = r.held[1:]
			r.do(fmt.Sprintf("release %d", ino), func() error { return r.f.Release(r.op(), ino) })
		}
	}
	switch r.rng.IntN(24 / r.syncing) {
	case 0:
		r.sync()
	case 1:
		if _, there := r.trees[len(r.trees)-1].inodes()[ino]; there {
			r.fsync(ino)
		}
	}
}

// sweepSize is how much crash tests do: by default what a run of all tests has
// time for, some hundred thousand states with QUINTET_LONG, each recovered by
// e2fsck as well.
func sweepSize() (rounds, steps, samples, fsckEvery int) {
	switch {
	case os.Getenv("QUINTET_LONG") != "":
		return 12, 600, 9, 1
	case testing.Short():
		return 1, 150, 1, 50
	}
	return 2, 250, 2, 20
}

// TestPowerLossAnywhere runs random operations and cuts the power at every
// write, with what was not flushed lost, reordered and torn. Recovered by us
// and by e2fsck, the file system must be sound and keep what was promised.
func TestPowerLossAnywhere(t *testing.T) {
	rounds, steps, samples, fsck := sweepSize()
	total := 0
	for _, c := range []struct {
		name    string
		size    int64
		long    bool
		cache   int64
		syncing int // of 24 operations so many are followed by a sync, and as many by an fsync
		o       ext4.FormatOptions
	}{
		{"4k", 16 << 20, false, 4 << 20, 2, ext4.FormatOptions{BlockSize: 4096}},
		{"1k, long names", 8 << 20, true, 1 << 20, 2, ext4.FormatOptions{BlockSize: 1024}},
		{"2k, small cache, synced often", 12 << 20, true, 0, 8, ext4.FormatOptions{BlockSize: 2048}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range rounds {
				seed := rand.Uint64()
				t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
					r := newCrashRun(t, seed, c.size, c.o, c.cache)
					r.syncing = c.syncing
					for range steps {
						r.step(c.long)
					}
					r.sync()
					total += r.sweep(crashtest.Sweep{Seed: seed, Tear: c.o.BlockSize, Samples: samples}, fsck)
				})
			}
		})
	}
	t.Logf("%d crash states", total)
}

// TestPowerLossInGrowingDirectory makes and removes names until the directory
// has an index and its blocks have been split and emptied again.
func TestPowerLossInGrowingDirectory(t *testing.T) {
	_, _, samples, fsck := sweepSize()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := newCrashRun(t, seed, 8<<20, ext4.FormatOptions{BlockSize: 1024}, 1<<20)
	name := func(i int) string { return fmt.Sprintf("%d-%s", i, strings.Repeat("y", 180)) }
	var dir ext4.Attr
	r.do("mkdir", func() (err error) { dir, err = r.f.Mkdir(r.op(), ext4.Root, "dir", 0o755); return err })
	present := map[int]bool{}
	for i := range 160 {
		k := r.rng.IntN(120)
		if present[k] = !present[k]; present[k] {
			r.do(fmt.Sprintf("create %d", k), func() error { _, err := r.f.Create(r.op(), dir.Ino, name(k), 0o644); return err })
		} else {
			r.do(fmt.Sprintf("unlink %d", k), func() error { return r.f.Unlink(r.op(), dir.Ino, name(k)) })
		}
		if i%5 == 0 {
			r.sync()
		}
	}
	r.sync()
	t.Logf("%d crash states", r.sweep(crashtest.Sweep{Seed: seed, Tear: 1024, Samples: samples}, fsck))
}

// TestPowerLossInDeepFile makes a file of so many pieces that its extents need
// a tree and its truncation several transactions, and removes others like it.
func TestPowerLossInDeepFile(t *testing.T) {
	_, _, samples, fsck := sweepSize()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := newCrashRun(t, seed, 8<<20, ext4.FormatOptions{BlockSize: 1024}, 1<<20)
	for n := range 3 {
		var file ext4.Attr
		path := fmt.Sprintf("file%d", n)
		r.do("create "+path, func() (err error) { file, err = r.f.Create(r.op(), ext4.Root, path, 0o644); return err })
		p := []byte(strings.Repeat("data", 256))
		for i := range 200 {
			off := int64(r.rng.IntN(600)) * 2048
			r.do(fmt.Sprintf("write %s at %d", path, off), func() error { _, err := r.f.WriteAt(r.op(), file.Ino, p, off); return err })
			if i%20 == 0 {
				r.fsync(file.Ino)
			}
		}
		r.do("punch "+path, func() error {
			return r.f.Fallocate(r.op(), file.Ino, ext4.PunchHole, true, 100<<10, 200<<10)
		})
		r.do("zero "+path, func() error { return r.f.Fallocate(r.op(), file.Ino, ext4.ZeroRange, true, 400<<10, 300<<10) })
		r.sync()
		if n%2 == 0 {
			r.do("unlink "+path, func() error { return r.f.Unlink(r.op(), ext4.Root, path) })
		} else {
			r.do("truncate "+path, func() error { return r.f.Truncate(r.op(), file.Ino, 5000) })
		}
		r.sync()
	}
	t.Logf("%d crash states", r.sweep(crashtest.Sweep{Seed: seed, Tear: 1024, Samples: samples}, fsck))
}

// TestPowerLossDuringRecovery crashes the recovery from a crash: while the
// journal is replayed, and while files that had lost their last name, but were
// held open, are freed.
func TestPowerLossDuringRecovery(t *testing.T) {
	_, steps, samples, fsck := sweepSize()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := newCrashRun(t, seed, 8<<20, ext4.FormatOptions{BlockSize: 1024}, 1<<20)
	r.syncing = 2
	for range steps {
		r.step(true)
	}
	for i := range 5 {
		var file ext4.Attr
		name := fmt.Sprintf("orphan%d", i)
		r.do("create "+name, func() (err error) { file, err = r.f.Create(r.op(), ext4.Root, name, 0o644); return err })
		r.do("write "+name, func() error { _, err := r.f.WriteAt(r.op(), file.Ino, make([]byte, 50_000), 0); return err })
		if err := r.f.Hold(file.Ino); err != nil {
			t.Fatal(err)
		}
		r.do("unlink "+name, func() error { return r.f.Unlink(r.op(), ext4.Root, name) })
	}
	r.sync()
	last := len(r.trees) - 1
	recovery := crashtest.NewRecorder(r.recorder.Image.Clone())
	recovery.Mark(crashMark{promised: last, began: last})
	if _, err := r.recover(recovery); err != nil {
		t.Fatal(err)
	}
	r.recorder = recovery
	t.Logf("%d crash states of %d writes", r.sweep(crashtest.Sweep{Seed: seed, Tear: 1024, Samples: samples * 3}, fsck), recovery.Writes())
}
