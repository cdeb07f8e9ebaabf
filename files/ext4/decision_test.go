package ext4_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
)

// TestLostTransactionsStayLost lets the process of a file system die, and its successor
// before that has taken note of what was lost: the next still finds it out.
func TestLostTransactionsStayLost(t *testing.T) {
	volume := image.NewMemory(16 << 20)
	if err := ext4.Format(volume, ext4.FormatOptions{BlockSize: 1024, Now: testNow, Zeroed: true}); err != nil {
		t.Fatal(err)
	}
	for _, syncs := range []int{0, 1, 2} {
		f, err := ext4.Open(volume, ext4.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var list []*ext4.Decision
		for k := range syncs + 1 {
			op := ext4.Op{Now: testNow, Privileged: true, Decision: &ext4.Decision{}}
			name := string(rune('a'+syncs)) + string(rune('a'+k))
			if _, err := f.Create(&op, ext4.Root, name, 0o644); err != nil {
				t.Fatal(err)
			}
			list = append(list, op.Decision)
			if k < syncs {
				if err := f.Sync(); err != nil {
					t.Fatal(err)
				}
			}
		}
		found := volume.Clone()
		for death := range 3 {
			g, err := ext4.Open(found, ext4.Options{KeepOrphans: true})
			if err != nil {
				t.Fatal(err)
			}
			found = found.Clone()
			for k, d := range list {
				if pending, err := g.Expect(kept(d), true); err != nil || pending != (k == syncs) {
					t.Errorf("after %d syncs and %d deaths, operation %d is pending: %v, %v", syncs, death+1, k, pending, err)
				}
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUnfinishedOperationsKeepTheirBlocks lets a process die within two operations at once,
// each of which has committed nothing and recorded a part. They go on in the successor, where
// neither takes a block that the other has data in.
func TestUnfinishedOperationsKeepTheirBlocks(t *testing.T) {
	volume := image.NewMemory(16 << 20)
	if err := ext4.Format(volume, ext4.FormatOptions{BlockSize: 1024, Now: testNow, Zeroed: true}); err != nil {
		t.Fatal(err)
	}
	f, err := ext4.Open(volume, ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const holes = 200
	var inos [2]uint32
	var data [2][]byte
	for k := range inos {
		op := &ext4.Op{Now: testNow, Privileged: true}
		a, err := f.Create(op, ext4.Root, string(rune('a'+k)), 0o644)
		if err != nil {
			t.Fatal(err)
		}
		inos[k], data[k] = a.Ino, bytes.Repeat([]byte{byte(1 + k)}, holes*2048)
		for n := range holes {
			if _, err := f.WriteAt(op, a.Ino, []byte{9}, int64(n)*2048); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	// Each write stops at the end of its first part, before that can commit.
	var records [2]*ext4.Decision
	parts, die, ended := make(chan int), make(chan bool), make(chan error)
	write := func(f *ext4.FS, op ext4.Op, k int) error {
		op.Now = testNow.Add(time.Hour)
		_, err := f.WriteAt(&op, inos[k], data[k], 0)
		return err
	}
	for k := range inos {
		go func() {
			first := true
			ended <- write(f, ext4.Op{Decision: &ext4.Decision{}, Record: func(d *ext4.Decision) {
				if first {
					first, records[k] = false, kept(d)
					parts <- k
					<-die
				}
			}}, k)
		}()
	}
	<-parts
	<-parts
	found := volume.Clone()
	close(die)
	for range inos {
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	g, err := ext4.Open(found, ext4.Options{KeepOrphans: true})
	if err != nil {
		t.Fatal(err)
	}
	for k, d := range records {
		if pending, err := g.Expect(d, false); err != nil || !pending {
			t.Fatal(k, pending, err)
		}
	}
	for k, d := range records {
		if err := write(g, ext4.Op{Decision: d, Replay: true}, k); err != nil {
			t.Fatal(k, err)
		}
	}
	ext4test.Compare(t, ext4test.Read(t, f), ext4test.Read(t, g))
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	mustBeClean(t, found)
}
