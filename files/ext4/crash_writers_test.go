package ext4_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/crashtest"
)

// writerPromise says that an fsync returned: from then on the writer's round is
// at least this one.
type writerPromise struct{ writer, round int }

// TestPowerLossWithManyWriters has goroutines work in directories of their own
// and in one they share, each fsyncing now and then, so that transactions hold
// what several of them were doing, and cuts the power everywhere.
//
// Each writer goes through rounds: it makes the file r<n>, fills it, renames it
// over "current", and removes what it made two rounds ago in the shared
// directory. Whatever the crash, "current" is whole, and not older than promised.
func TestPowerLossWithManyWriters(t *testing.T) {
	writers, rounds := 6, 30
	_, _, samples, fsckEvery := sweepSize()
	switch {
	case os.Getenv("QUINTET_LONG") != "":
		rounds = 150
	case testing.Short():
		rounds = 10
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	image := crashtest.NewImage(24 << 20)
	if err := ext4.Format(image, ext4.FormatOptions{BlockSize: 1024, JournalBlocks: 1024, Now: testNow, Zeroed: true}); err != nil {
		t.Fatal(err)
	}
	recorder := crashtest.NewRecorder(image)
	o := ext4.Options{CacheBytes: 2 << 20, Now: func() time.Time { return testNow }}
	f, err := ext4.Open(recorder, o)
	if err != nil {
		t.Fatal(err)
	}
	op := func() *ext4.Op { return &ext4.Op{Now: testNow, Privileged: true} }
	shared, err := f.Mkdir(op(), ext4.Root, "shared", 0o755)
	if err != nil {
		t.Fatal(err)
	}
	var dirs [16]ext4.Attr
	for w := range writers {
		if dirs[w], err = f.Mkdir(op(), ext4.Root, fmt.Sprintf("w%d", w), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	recorder.Mark(writerPromise{0, 0})
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(w)))
			dir := dirs[w].Ino
			for round := 1; round <= rounds; round++ {
				name := fmt.Sprintf("r%d", round)
				link := fmt.Sprintf("w%d r%d %s", w, round, strings.Repeat("z", r.IntN(200)))
				a, err := f.Create(op(), dir, name, 0o644)
				for _, step := range []func() error{
					func() error { return err },
					func() error { _, err := f.WriteAt(op(), a.Ino, writerContent(w, round), 0); return err },
					func() error { return f.Link(op(), a.Ino, shared.Ino, link) },
					func() error { return f.Rename(op(), dir, name, dir, "current", 0) },
					func() error { return f.SetXattr(op(), a.Ino, "user.round", []byte(name), 0) },
					func() error {
						if r.IntN(2) == 0 {
							return f.Unlink(op(), shared.Ino, link)
						}
						return nil
					},
				} {
					if err := step(); err != nil {
						t.Errorf("writer %d, round %d: %v", w, round, err)
						return
					}
				}
				if r.IntN(3) == 0 {
					if err := f.Fsync(a.Ino); err != nil {
						t.Error(err)
						return
					}
					recorder.Mark(writerPromise{w, round})
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	path := make(chan string, 16)
	for i := range cap(path) {
		path <- fmt.Sprintf("%s/image%d", t.TempDir(), i)
	}
	var mu sync.Mutex
	n := 0
	checked, err := recorder.States(crashtest.Sweep{Seed: seed, Tear: 1024, Samples: samples}, func(s crashtest.State) error {
		mu.Lock()
		n++
		fsck := n%fsckEvery == 0
		mu.Unlock()
		if len(s.Marks) == 0 {
			return nil // the directories were not promised yet
		}
		if fsck {
			p := <-path
			defer func() { path <- p }()
			if err := fsckState(t, p, s.Image); err != nil {
				return err
			}
		}
		return checkWriters(s, o, writers)
	})
	t.Logf("%d crash states", checked)
	if err != nil {
		t.Fatal(err)
	}
}

func writerContent(w, round int) []byte {
	return []byte(strings.Repeat(fmt.Sprintf("writer %d in round %d. ", w, round), 20+round*37%400))
}

// checkWriters recovers a state and looks at every writer's files.
func checkWriters(s crashtest.State, o ext4.Options, writers int) error {
	promised := make([]int, writers)
	for _, m := range s.Marks {
		p := m.(writerPromise)
		promised[p.writer] = max(promised[p.writer], p.round)
	}
	f, err := ext4.Open(s.Image, o)
	if err != nil {
		return fmt.Errorf("recovery: %w", err)
	}
	if _, err := crashSnapshot(f); err != nil {
		return err
	}
	for w := range writers {
		ino, err := f.Walk(fmt.Sprintf("/w%d/current", w), true)
		if err != nil {
			if promised[w] == 0 {
				continue
			}
			return fmt.Errorf("writer %d was promised round %d: %w", w, promised[w], err)
		}
		a, err := f.Stat(ino)
		if err != nil {
			return err
		}
		p := make([]byte, a.Size)
		if _, err := f.ReadAt(ino, p, 0); err != nil {
			return err
		}
		var who, round int
		if _, err := fmt.Sscanf(string(p), "writer %d in round %d.", &who, &round); err != nil {
			return fmt.Errorf("writer %d: current holds %.40q: %w", w, p, err)
		}
		if who != w || round < promised[w] || string(p) != string(writerContent(w, round)) {
			return fmt.Errorf("writer %d was promised round %d and finds %d bytes of writer %d, round %d", w, promised[w], len(p), who, round)
		}
	}
	return f.Close()
}
