package ext4_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
)

// TestSameNamesAtOnce has workers make, move, exchange and remove the same few
// names, so that what one found has changed when it has locked everything.
func TestSameNamesAtOnce(t *testing.T) {
	const workers, names = 4, 6
	rounds := 4000
	if testing.Short() {
		rounds = 1000
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	volume := image.NewMemory(64 << 20)
	if err := ext4.Format(volume, ext4.FormatOptions{Now: testNow, Zeroed: true}); err != nil {
		t.Fatal(err)
	}
	f, err := ext4.Open(volume, ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	op := func() *ext4.Op { return &ext4.Op{Now: testNow, Privileged: true} }
	var dirs [2]uint32
	for i := range dirs {
		a, err := f.Mkdir(op(), ext4.Root, fmt.Sprintf("dir%d", i), 0o755)
		if err != nil {
			t.Fatal(err)
		}
		dirs[i] = a.Ino
	}
	for i := range 300 { // an index, in one of them
		if _, err := f.Create(op(), dirs[0], fmt.Sprintf("one of many others %d", i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(w)))
			place := func() (uint32, string) { return dirs[rng.IntN(len(dirs))], fmt.Sprintf("name%d", rng.IntN(names)) }
			for range rounds {
				dir, name := place()
				to, other := place()
				var err error
				switch rng.IntN(8) {
				case 0, 1:
					_, err = f.Create(op(), dir, name, 0o644)
				case 2:
					_, err = f.Mkdir(op(), dir, name, 0o755)
				case 3:
					err = f.Unlink(op(), dir, name)
				case 4:
					err = f.Rmdir(op(), dir, name)
				case 5:
					err = f.Rename(op(), dir, name, to, other, ext4.Exchange)
				default:
					err = f.Rename(op(), dir, name, to, other, 0)
				}
				switch ext4.KindOf(err) {
				case 0:
					if err != nil {
						t.Errorf("worker %d: %v", w, err)
						return
					}
				case ext4.KindExist, ext4.KindNotExist, ext4.KindIsDir, ext4.KindNotDir, ext4.KindNotEmpty:
				default:
					t.Errorf("worker %d: %v", w, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	mustBeClean(t, volume)
	ext4test.Fsck(t, writeImage(t, volume))
}
