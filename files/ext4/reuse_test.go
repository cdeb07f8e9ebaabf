package ext4_test

import (
	"fmt"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
)

// TestFreedInodesWaitForTheirCommit makes and removes files: a number is not given out
// again before its removal is durable, and then it is, also when it is the only one left.
func TestFreedInodesWaitForTheirCommit(t *testing.T) {
	volume := image.NewMemory(16 << 20)
	if err := ext4.Format(volume, ext4.FormatOptions{BlockSize: 1024, BytesPerInode: 256 << 10, Now: testNow, Zeroed: true}); err != nil {
		t.Fatal(err)
	}
	f, err := ext4.Open(volume, ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	create := func(name string) (uint32, *ext4.Decision, error) {
		op := ext4.Op{Now: testNow, Privileged: true, Decision: &ext4.Decision{}}
		a, err := f.Create(&op, ext4.Root, name, 0o644)
		return a.Ino, op.Decision, err
	}
	freed := map[uint32]uint32{} // transactions by inode
	for k := range 300 {
		name := fmt.Sprint("file ", k)
		ino, _, err := create(name)
		if err != nil {
			t.Fatal(err)
		}
		if sequence, ok := freed[ino]; ok && !f.Committed(sequence) {
			t.Fatalf("file %d: inode %d is given out again before its removal has committed", k, ino)
		}
		op := ext4.Op{Now: testNow, Privileged: true, Decision: &ext4.Decision{}}
		if err := f.Unlink(&op, ext4.Root, name); err != nil {
			t.Fatal(err)
		}
		freed[ino] = op.Decision.Last()
	}
	if len(freed) == 300 {
		t.Fatal("no number was given out twice")
	}
	var full error
	for k := 0; full == nil; k++ {
		_, _, full = create(fmt.Sprint("full ", k))
	}
	if ext4.KindOf(full) != ext4.KindNoSpace {
		t.Fatal(full)
	}
	if err := f.Unlink(&ext4.Op{Now: testNow, Privileged: true}, ext4.Root, "full 0"); err != nil {
		t.Fatal(err)
	}
	if _, d, err := create("the last"); err != nil || len(d.Parts) != 1 {
		t.Fatal(err, d)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	mustBeClean(t, volume)
}

// TestReplayKnowsWhatWasHeld removes the last names of a held file, by unlinking and by
// renaming onto it. The successor, in which nobody holds them yet, keeps them, and frees
// them when their holders have let them go.
func TestReplayKnowsWhatWasHeld(t *testing.T) {
	before := image.NewMemory(16 << 20)
	if err := ext4.Format(before, ext4.FormatOptions{BlockSize: 1024, Now: testNow, Zeroed: true}); err != nil {
		t.Fatal(err)
	}
	f, err := ext4.Open(before, ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	op := func() *ext4.Op { return &ext4.Op{Now: testNow, Privileged: true, Decision: &ext4.Decision{}} }
	var inos []uint32
	for _, name := range []string{"unlinked", "replaced", "other", "free"} {
		a, err := f.Create(op(), ext4.Root, name, 0o644)
		if err == nil {
			_, err = f.WriteAt(op(), a.Ino, []byte("content of "+name), 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		inos = append(inos, a.Ino)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	held := inos[:2]
	for _, ino := range held {
		if err := f.Hold(ino); err != nil {
			t.Fatal(err)
		}
	}
	script := []func(f *ext4.FS, op *ext4.Op) error{
		func(f *ext4.FS, op *ext4.Op) error { return f.Unlink(op, ext4.Root, "unlinked") },
		func(f *ext4.FS, op *ext4.Op) error {
			return f.Rename(op, ext4.Root, "other", ext4.Root, "replaced", 0)
		},
		func(f *ext4.FS, op *ext4.Op) error { return f.Unlink(op, ext4.Root, "free") },
	}
	var log []logged
	for _, do := range script {
		o := op()
		if err := do(f, o); err != nil {
			t.Fatal(err)
		}
		log = append(log, logged{*o, do})
	}
	want := ext4test.Read(t, f)
	found := before.Clone()
	g, err := ext4.Open(found, ext4.Options{KeepOrphans: true})
	if err != nil {
		t.Fatal(err)
	}
	for k, l := range log {
		if l.op.Decision.Held != (k < 2) {
			t.Fatalf("operation %d: held is %v", k, l.op.Decision.Held)
		}
		if !l.expect(t, g) {
			t.Fatalf("operation %d is not pending", k)
		}
		if err := l.replay(g); err != nil {
			t.Fatalf("operation %d: %v", k, err)
		}
	}
	ext4test.Compare(t, want, ext4test.Read(t, g))
	for _, ino := range held {
		if err := g.Hold(ino); err != nil {
			t.Fatalf("inode %d, which was held, is gone: %v", ino, err)
		}
	}
	if n := len(g.Orphans()); n != len(held) {
		t.Fatalf("%d orphans, %d were held", n, len(held))
	}
	for _, ino := range held {
		if err := g.Release(op(), ino); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(g.Orphans()); n != 0 {
		t.Fatalf("%d orphans after the last release", n)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	mustBeClean(t, found)
}

// TestDecisionsNameEveryTransaction commits while a write of many pieces goes on, until
// one has been part of several transactions: all are recorded, in their order.
func TestDecisionsNameEveryTransaction(t *testing.T) {
	volume := image.NewMemory(16 << 20)
	if err := ext4.Format(volume, ext4.FormatOptions{BlockSize: 1024, Now: testNow, Zeroed: true}); err != nil {
		t.Fatal(err)
	}
	f, err := ext4.Open(volume, ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a, err := f.Create(&ext4.Op{Now: testNow, Privileged: true}, ext4.Root, "pieces", 0o644)
	if err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := f.Sync(); err != nil {
				done <- err
				return
			}
		}
	}()
	several := false
	for round := 0; !several; round++ {
		if round == 1000 {
			t.Fatal("no write was recorded in several transactions")
		}
		if err := f.Truncate(&ext4.Op{Now: testNow, Privileged: true}, a.Ino, 0); err != nil {
			t.Fatal(err)
		}
		for k := range 300 { // holes between blocks
			if _, err := f.WriteAt(&ext4.Op{Now: testNow, Privileged: true}, a.Ino, []byte{1}, int64(k)*2048); err != nil {
				t.Fatal(err)
			}
		}
		op := ext4.Op{Now: testNow, Privileged: true, Decision: &ext4.Decision{}}
		if _, err := f.WriteAt(&op, a.Ino, make([]byte, 300*2048), 0); err != nil {
			t.Fatal(err)
		}
		seen := op.Decision.Parts
		for k := 1; k < len(seen); k++ {
			if seen[k].Transaction <= seen[k-1].Transaction || seen[k].Blocks < seen[k-1].Blocks || seen[k].Metadata < seen[k-1].Metadata || seen[k].Done <= seen[k-1].Done {
				t.Fatalf("parts %v are not in order", seen)
			}
		}
		if d := op.Decision; d.Done != 300*2048 || seen[len(seen)-1].Blocks != len(d.Blocks) || seen[len(seen)-1].Metadata != len(d.Metadata) {
			t.Fatalf("of %d bytes %d are said to be done; parts %v, %d and %d blocks", 300*2048, d.Done, seen, len(d.Blocks), len(d.Metadata))
		}
		several = len(seen) > 1
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
