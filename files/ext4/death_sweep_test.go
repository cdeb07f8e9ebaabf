package ext4_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/crashtest"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
)

// deathFiles is how many names the operations use.
const deathFiles = 6

// setUp leaves free blocks only in small pieces, so that operations have many.
func (r *deathRun) setUp(block, size int64) {
	r.t.Helper()
	op := &ext4.Op{Now: testNow, Privileged: true}
	a, err := r.f.Create(op, ext4.Root, "filler", 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	n := int64(r.f.Statfs().Available) - 80 // which its own map takes, and more
	if _, err := r.f.WriteAt(op, a.Ino, make([]byte, n*block), 0); err != nil {
		r.t.Fatal(err)
	}
	for off := int64(0); off < 2*size; off += 2 * block {
		if err := r.f.Fallocate(op, a.Ino, ext4.PunchHole, true, off, block); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := r.f.Sync(); err != nil {
		r.t.Fatal(err)
	}
}

// expectContent changes the model, and fails the test unless the file agrees.
func (r *deathRun) expectContent(ino uint32, change func(p []byte) []byte) {
	r.t.Helper()
	r.model[ino] = change(r.model[ino])
	a, err := r.f.Stat(ino)
	if err != nil {
		r.t.Fatal(err)
	}
	got := make([]byte, a.Size)
	if _, err := r.f.ReadAt(ino, got, 0); err != nil && a.Size > 0 {
		r.t.Fatal(err)
	}
	if !bytes.Equal(got, r.model[ino]) {
		r.t.Fatalf("operation %d (%s): inode %d differs from the model", len(r.ops)-1, r.ops[len(r.ops)-1].what, ino)
	}
}

func grown(p []byte, n int64) []byte {
	if int64(len(p)) >= n {
		return p
	}
	return append(p, make([]byte, n-int64(len(p)))...)
}

// step does one random operation on one of a few files.
func (r *deathRun) step(most int64, extents bool) {
	name := func() string { return fmt.Sprint("file ", r.rng.IntN(deathFiles)) }
	n := name()
	ino, err := r.f.Lookup(ext4.Root, n)
	if err != nil {
		if err := r.do("create "+n, func(f *ext4.FS, op *ext4.Op) error { _, err := f.Create(op, ext4.Root, n, 0o644); return err }); err == nil {
			if ino, err = r.f.Lookup(ext4.Root, n); err != nil {
				r.t.Fatal(err)
			}
			r.model[ino] = nil
		}
		return
	}
	held := r.held[len(r.held)-1]
	if len(held) > 0 && r.rng.IntN(3) == 0 {
		ino = held[0]
	}
	off, size := r.rng.Int64N(most), 1+r.rng.Int64N(most)
	if r.rng.IntN(2) == 0 {
		off, size = off&^1023, (size+1023)&^1023
	}
	switch k := r.rng.IntN(20); k {
	case 0, 1, 2, 3, 4, 5:
		p := make([]byte, size)
		for i := range p {
			p[i] = byte(r.rng.Uint32()) | 1
		}
		err := r.do(fmt.Sprintf("write inode %d at %d, %d bytes", ino, off, size), func(f *ext4.FS, op *ext4.Op) error {
			_, err := f.WriteAt(op, ino, p, off)
			return err
		})
		if err == nil { // else blocks the file had may hold more of it
			r.expectContent(ino, func(q []byte) []byte { q = grown(q, off+size); copy(q[off:], p); return q })
			return
		}
		r.reread(ino)
	case 6, 7, 8:
		off = r.rng.Int64N(2*most) * r.rng.Int64N(2)
		do := func(f *ext4.FS, op *ext4.Op) error { return f.Truncate(op, ino, off) }
		if k == 8 {
			mode, mtime := uint16(r.rng.IntN(0o1000)), testNow.Add(-1)
			do = func(f *ext4.FS, op *ext4.Op) error {
				return f.Setattr(op, ino, ext4.SetAttr{Size: &off, Mode: &mode, Mtime: &mtime})
			}
		}
		if r.do(fmt.Sprintf("truncate inode %d to %d", ino, off), do) == nil {
			r.expectContent(ino, func(q []byte) []byte { return grown(q[:min(int64(len(q)), off)], off) })
		}
	case 9, 10, 11, 12:
		mode, keepSize := ext4.FallocateMode(r.rng.IntN(3)), r.rng.IntN(2) == 0
		if !extents {
			mode = ext4.PunchHole
		}
		err := r.do(fmt.Sprintf("fallocate inode %d, mode %d, keep %v at %d, %d bytes", ino, mode, keepSize, off, size),
			func(f *ext4.FS, op *ext4.Op) error { return f.Fallocate(op, ino, mode, keepSize, off, size) })
		if err != nil {
			r.reread(ino)
			return
		}
		r.expectContent(ino, func(q []byte) []byte {
			if mode != ext4.PunchHole && !keepSize {
				q = grown(q, off+size)
			}
			if mode != ext4.Allocate && off < int64(len(q)) {
				clear(q[off:min(int64(len(q)), off+size)])
			}
			return q
		})
	case 13, 14:
		_ = r.do("unlink "+n, func(f *ext4.FS, op *ext4.Op) error { return f.Unlink(op, ext4.Root, n) })
	case 15, 16:
		to := name()
		_ = r.do("rename "+n+" to "+to, func(f *ext4.FS, op *ext4.Op) error { return f.Rename(op, ext4.Root, n, ext4.Root, to, 0) })
	case 17:
		value := []byte(strings.Repeat("v", r.rng.IntN(900)))
		_ = r.do(fmt.Sprintf("set an attribute of inode %d", ino), func(f *ext4.FS, op *ext4.Op) error { return f.SetXattr(op, ino, "user.k", value, 0) })
	case 18, 19:
		if len(held) == 0 {
			if err := r.f.Hold(ino); err != nil {
				r.t.Fatal(err)
			}
			_ = r.keep(deathOp{what: fmt.Sprintf("hold inode %d", ino), do: func(*ext4.FS, *ext4.Op) error { return nil }}, []uint32{ino})
			return
		}
		ino := held[0]
		_ = r.keep(deathOp{what: fmt.Sprintf("release inode %d", ino), release: ino, do: func(f *ext4.FS, op *ext4.Op) error { return f.Release(op, ino) }}, nil)
	}
}

// reread takes the content of a file into the model after what did not fit.
func (r *deathRun) reread(ino uint32) {
	a, err := r.f.Stat(ino)
	if err != nil {
		r.t.Fatal(err)
	}
	p := make([]byte, a.Size)
	if _, err := r.f.ReadAt(ino, p, 0); err != nil && a.Size > 0 {
		r.t.Fatal(err)
	}
	r.model[ino] = p
}

// TestProcessDeathAnywhere lets the process of a file system die at every write and whenever
// something was recorded, while operations go on of which many span several transactions.
// What its successor applies again to what it finds gives the same files, contents,
// attributes, times and blocks as if nobody had died, also when the successor dies at that.
func TestProcessDeathAnywhere(t *testing.T) {
	// Deaths at writes, and as many after marks; of so many one is followed by second ones,
	// and of so many one is for e2fsck.
	rounds, steps, deaths, again, fsck := 1, 40, 40, 40, 20
	switch {
	case os.Getenv("QUINTET_LONG") != "":
		rounds, steps, deaths, again, fsck = 5, 100, 500, 40, 10
	case testing.Short():
		steps, deaths = 20, 15
	}
	for _, c := range []struct {
		name    string
		size    int64
		block   int64
		most    int64 // bytes an operation works on
		extents bool
		mkfs    []string
	}{
		{"extents", 6 << 20, 1024, 400 << 10, true, []string{"-b", "1024", "-g", "512", "-J", "size=1", "-m", "0"}},
		{"without extents", 6 << 20, 1024, 400 << 10, false, append(slices.Clone(ext3), "-b", "1024", "-g", "512", "-J", "size=1", "-m", "0")},
		{"large blocks", 12 << 20, 4096, 800 << 10, true, []string{"-b", "4096", "-J", "size=4", "-m", "0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			volume, err := crashtest.ReadFile(ext4test.Mkfs(t, c.size, c.mkfs...))
			if err != nil {
				t.Fatal(err)
			}
			for range rounds {
				seed := rand.Uint64()
				t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
					dieAnywhere(t, seed, volume.Clone(), c.block, c.most, steps, c.extents, deaths, again, fsck)
				})
			}
		})
	}
}

func dieAnywhere(t *testing.T, seed uint64, volume *crashtest.Image, block, most int64, steps int, extents bool, deaths, again, fsck int) {
	prepared := newDeathRun(t, seed, volume)
	prepared.setUp(block, 4*most)
	if err := prepared.f.Close(); err != nil {
		t.Fatal(err)
	}
	r := newDeathRun(t, seed, volume)
	for range steps {
		r.step(most, extents)
	}
	path := filepath.Join(t.TempDir(), "image")
	var n, second atomic.Int64
	free := make(chan bool, 1)
	free <- true
	sweep := r.recorder.Some(deaths)
	sweep.Seed = seed
	checked, err := r.recorder.States(sweep, func(s crashtest.State) error {
		marks := found(nil, s.Marks)
		k := n.Add(1)
		if k%int64(again) == 0 {
			states, err := r.dieAgain(seed, s.Image.Clone(), marks, 20)
			second.Add(int64(states))
			if err != nil {
				return fmt.Errorf("a second death: %w", err)
			}
		}
		if err := r.recover(s.Image, marks, func(deathMark) {}); err != nil {
			return err
		}
		if err := crashCheck(s.Image); err != nil || k%int64(fsck) != 0 {
			return err
		}
		if err := withoutTails(s.Image); err != nil {
			return err
		}
		defer func(b bool) { free <- b }(<-free)
		return fsckState(t, path, s.Image)
	})
	log := func() (s string) {
		for k, o := range r.ops {
			s += fmt.Sprintf("%d: %s: %v\n", k, o.what, o.result)
		}
		return s
	}
	if err != nil {
		t.Fatalf("%v\noperations:\n%s", err, log())
	}
	t.Logf("%d deaths, %d second ones; %d operations of which some had committed, %d that had not ended, were applied again",
		checked, second.Load(), r.partly.Load(), r.resumed.Load())
}

// withoutTails frees what files have beyond their ends. E2fsck 1.47 mistakes it for damage in a
// tree of two levels, the kernel's too.
func withoutTails(m *crashtest.Image) error {
	f, err := ext4.Open(m, ext4.Options{})
	if err != nil {
		return err
	}
	var inos []uint32
	err = f.ReadDir(ext4.Root, 0, func(e ext4.DirEntry) bool { inos = append(inos, e.Ino); return true })
	for _, ino := range inos {
		if a, e := f.Stat(ino); e == nil && a.FileMode().IsRegular() {
			err = errors.Join(err, f.Truncate(&ext4.Op{Now: testNow}, ino, int64(a.Size)))
		}
	}
	return errors.Join(err, f.Close())
}

// dieAgain has the successor die as well.
func (r *deathRun) dieAgain(seed uint64, m *crashtest.Image, marks map[int]deathMark, deaths int) (int, error) {
	recovery := crashtest.NewRecorder(m)
	if err := r.recover(recovery, marks, func(m deathMark) { recovery.Mark(m) }); err != nil {
		return 0, err
	}
	sweep := recovery.Some(deaths)
	sweep.Seed, sweep.Workers = seed, 1
	return recovery.States(sweep, func(s crashtest.State) error {
		err := r.recover(s.Image, found(marks, s.Marks), func(deathMark) {})
		return errors.Join(err, crashCheck(s.Image))
	})
}
