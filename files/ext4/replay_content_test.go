package ext4_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
)

// TestReplayKeepsTheData lets the process of a file system die with operations that no
// commit has taken in, and re-applies them to what its successor finds: the content of
// every file is what it was, since the data was in place. What had been committed is
// known to be, and what had not is not.
func TestReplayKeepsTheData(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, block := range []int{1024, 4096} {
		t.Run(fmt.Sprintf("blocks of %d", block), func(t *testing.T) { replayContent(t, block, seed) })
	}
}

func replayContent(t *testing.T, block int, seed uint64) {
	volume := image.NewMemory(32 << 20)
	if err := ext4.Format(volume, ext4.FormatOptions{BlockSize: block, Now: testNow, Zeroed: true}); err != nil {
		t.Fatal(err)
	}
	f, err := ext4.Open(volume, ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	now := testNow
	var log []logged
	run := func(do func(f *ext4.FS, op *ext4.Op) error) {
		t.Helper()
		now = now.Add(12345678)
		op := ext4.Op{Now: now, Privileged: true, Decision: &ext4.Decision{}}
		if err := do(f, &op); err != nil {
			t.Fatal(err)
		}
		log = append(log, logged{op, do})
	}
	r := rand.New(rand.NewPCG(seed, uint64(block)))
	var inos []uint32
	write := func(ino uint32, off, n int) {
		p := bytes.Repeat([]byte{byte(1 + r.IntN(255))}, n)
		run(func(f *ext4.FS, op *ext4.Op) error { _, err := f.WriteAt(op, ino, p, int64(off)); return err })
	}
	for k := range 8 {
		run(func(f *ext4.FS, op *ext4.Op) error {
			a, err := f.Create(op, ext4.Root, fmt.Sprint("file ", k), 0o644)
			if !op.Replay {
				inos = append(inos, a.Ino)
			}
			return err
		})
		write(inos[k], 0, 9000)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	committed := log
	log = nil
	// The shortest case: the tail of a block is zeroed, and then written.
	first := inos[0]
	run(func(f *ext4.FS, op *ext4.Op) error { return f.Truncate(op, first, 100) })
	write(first, 100, 3996)
	for range 200 {
		ino, off, n := inos[r.IntN(len(inos))], r.IntN(30_000), 1+r.IntN(9000)
		switch r.IntN(6) {
		case 0:
			run(func(f *ext4.FS, op *ext4.Op) error { return f.Truncate(op, ino, int64(off)) })
		case 1:
			run(func(f *ext4.FS, op *ext4.Op) error {
				return f.Fallocate(op, ino, ext4.PunchHole, true, int64(off), int64(n))
			})
		case 2:
			run(func(f *ext4.FS, op *ext4.Op) error {
				return f.Fallocate(op, ino, ext4.ZeroRange, false, int64(off), int64(n))
			})
		default:
			write(ino, off, n)
		}
	}
	want := ext4test.Read(t, f)

	found := volume.Clone() // as the process left it
	g, err := ext4.Open(found, ext4.Options{KeepOrphans: true})
	if err != nil {
		t.Fatal(err)
	}
	for k, l := range committed {
		if !g.Committed(l.op.Decision.Last()) {
			t.Fatalf("operation %d, transaction %d, had been committed", k, l.op.Decision.Last())
		}
	}
	var pending []logged
	for k, l := range log {
		done := l.op.Decision.Last() == 0 // it had changed nothing but data
		if !done && g.Committed(l.op.Decision.Last()) {
			t.Fatalf("operation %d, transaction %d, had not been committed", k, l.op.Decision.Last())
		}
		if l.expect(t, g) != !done {
			t.Fatalf("operation %d is pending: %v", k, done)
		}
		if !done {
			pending = append(pending, l)
		}
	}
	for k, l := range pending {
		if err := l.replay(g); err != nil {
			t.Fatalf("operation %d of %d: %v", k, len(pending), err)
		}
	}
	ext4test.Compare(t, want, ext4test.Read(t, g))
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	mustBeClean(t, found)
}
