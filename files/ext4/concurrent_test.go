package ext4_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
)

// TestManyAtOnce lets workers create, write, move and remove in shared
// directories, each minding files of its own, while others read.
func TestManyAtOnce(t *testing.T) {
	const workers, dirs = 6, 3
	rounds := 400
	if testing.Short() {
		rounds = 100
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	volume := image.NewMemory(128 << 20)
	if err := ext4.Format(volume, ext4.FormatOptions{BlockSize: 1024, Now: testNow, Zeroed: true}); err != nil {
		t.Fatal(err)
	}
	f, err := ext4.Open(volume, ext4.Options{CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	var shared [dirs]uint32
	for i := range shared {
		a, err := f.Mkdir(&ext4.Op{Now: testNow}, ext4.Root, fmt.Sprintf("shared%d", i), 0o755)
		if err != nil {
			t.Fatal(err)
		}
		shared[i] = a.Ino
	}
	var wg, readers sync.WaitGroup
	stop := make(chan struct{})
	for r := range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				var names []string
				if err := f.ReadDir(shared[r], 0, func(e ext4.DirEntry) bool { names = append(names, e.Name); return true }); err != nil {
					t.Errorf("readdir: %v", err)
					return
				}
				for _, n := range names {
					ino, err := f.Lookup(shared[r], n)
					if err == nil {
						_, err = f.Stat(ino)
					}
					if k := ext4.KindOf(err); err != nil && k != ext4.KindNotExist && k != ext4.KindStale {
						t.Errorf("lookup %s: %v", n, err)
						return
					}
				}
			}
		})
	}
	for w := range workers {
		wg.Go(func() {
			if err := worker(f, rand.New(rand.NewPCG(seed, uint64(w))), w, rounds, shared[:]); err != nil {
				t.Errorf("worker %d: %v", w, err)
			}
		})
	}
	wg.Wait()
	close(stop)
	readers.Wait()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	mustBeClean(t, volume)
	ext4test.Fsck(t, writeImage(t, volume))
}

// worker minds its own files, whose names begin with its number.
func worker(f *ext4.FS, rng *rand.Rand, w, rounds int, dirs []uint32) error {
	type mine struct {
		dir, ino uint32
		name     string
		data     []byte
	}
	var files []*mine
	op := func() *ext4.Op { return &ext4.Op{Now: testNow, Privileged: true} }
	for k := range rounds {
		if len(files) == 0 || rng.IntN(3) == 0 {
			m := &mine{dir: dirs[rng.IntN(len(dirs))], name: fmt.Sprintf("worker %d file %d", w, k)}
			a, err := f.Create(op(), m.dir, m.name, 0o644)
			if err != nil {
				return err
			}
			m.ino = a.Ino
			files = append(files, m)
			continue
		}
		at := rng.IntN(len(files))
		m := files[at]
		switch rng.IntN(6) {
		case 0, 1:
			p := make([]byte, 1+rng.IntN(9000))
			for i := range p {
				p[i] = byte(rng.Uint32())
			}
			if _, err := f.WriteAt(op(), m.ino, p, int64(len(m.data))); err != nil {
				return err
			}
			m.data = append(m.data, p...)
		case 2:
			to, name := dirs[rng.IntN(len(dirs))], fmt.Sprintf("worker %d moved %d", w, k)
			if err := f.Rename(op(), m.dir, m.name, to, name, 0); err != nil {
				return err
			}
			m.dir, m.name = to, name
		case 3:
			if err := f.Fsync(m.ino); err != nil {
				return err
			}
		case 4:
			p := make([]byte, len(m.data)+1)
			n, err := f.ReadAt(m.ino, p, 0)
			if err != io.EOF || !bytes.Equal(p[:n], m.data) {
				return fmt.Errorf("%s: %d bytes read, %d written, %v", m.name, n, len(m.data), err)
			}
		case 5:
			if err := f.Unlink(op(), m.dir, m.name); err != nil {
				return err
			}
			files = append(files[:at], files[at+1:]...)
		}
	}
	return nil
}
