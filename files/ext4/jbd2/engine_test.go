package jbd2_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/quintet-os/quintet/files/ext4/crashtest"
	"github.com/quintet-os/quintet/files/ext4/jbd2"
	"github.com/quintet-os/quintet/internal/testenv"
)

var featureSets = []struct {
	name string
	jbd2.Options
}{
	{"checksums, 64 bit", jbd2.Options{Checksums: true, Wide: true}},
	{"checksums", jbd2.Options{Checksums: true}},
	{"plain, 64 bit", jbd2.Options{Wide: true}},
	{"plain", jbd2.Options{}},
}

// TestPowerLoss runs random operations, some of them synced, and looks at
// crashes everywhere.
func TestPowerLoss(t *testing.T) {
	operations, sweep := 600, crashtest.Sweep{Tear: toyBlockSize, Samples: 1}
	if os.Getenv("QUINTET_LONG") != "" {
		operations, sweep.Samples = 3000, 4
	}
	sets := featureSets
	if testing.Short() {
		sets = sets[:1]
	}
	for _, f := range sets {
		t.Run(f.name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			sweep.Seed = seed
			recorder := crashtest.NewRecorder(newToyImage(t))
			y, err := openToy(t, recorder, seed, f.Options)
			if err != nil {
				t.Fatal(err)
			}
			y.interludes = 2
			for range operations {
				if err := y.operate(); err != nil {
					t.Fatal(err)
				}
				if y.random.IntN(4) == 0 {
					promise := y.state.operation
					if err := y.journal.CommitRunning(); err != nil {
						t.Fatal(err)
					}
					recorder.Mark(promise)
				}
			}
			stats := y.journal.Stats()
			t.Logf("%+v", stats)
			if stats.Checkpointed == 0 || stats.Revokes == 0 || stats.Frozen == 0 {
				t.Errorf("nothing was checkpointed, revoked or frozen: %+v", stats)
			}
			y.interludes = 0
			if err := y.journal.Close(); err != nil {
				t.Fatal(err)
			}
			recorder.Mark(y.state.operation)
			if err := checkToy(recorder.Image.Clone(), y.history, y.state.operation); err != nil {
				t.Fatalf("after closing, without replay: %v", err)
			}
			checked, err := recorder.States(sweep, func(s crashtest.State) error {
				promised := uint64(0)
				if len(s.Marks) > 0 {
					promised = s.Marks[len(s.Marks)-1].(uint64)
				}
				if _, err := jbd2.Replay(toyLog(s.Image), jbd2.ReplayOptions{Blocks: toyVolume}); err != nil {
					return err
				}
				return checkToy(s.Image, y.history, promised)
			})
			t.Logf("%d crash states of %d writes", checked, recorder.Writes())
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestLifetimes crashes, recovers and goes on, many times over on one volume:
// what earlier lives left in the log must never be taken for the present's.
func TestLifetimes(t *testing.T) {
	testenv.Unraced(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	lives := 60
	if os.Getenv("QUINTET_LONG") != "" {
		lives = 400
	}
	image := newToyImage(t)
	sb := make([]byte, toyBlockSize)
	if _, err := image.ReadAt(sb, 0); err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint32(sb[0x18:], 0xFFFFFF00) // transaction numbers soon wrap
	if _, err := image.WriteAt(sb, 0); err != nil {
		t.Fatal(err)
	}
	history := []toyState{{}}
	for life := range lives {
		recorder := crashtest.NewRecorder(image)
		y, err := openToy(t, recorder, seed+uint64(life), jbd2.Options{Checksums: life%2 == 0})
		if err != nil {
			t.Fatal(err)
		}
		y.resume(history)
		recorder.Mark(y.state.operation)
		for range r.IntN(60) {
			if err := y.operate(); err != nil {
				t.Fatal(err)
			}
			if r.IntN(3) == 0 {
				if err := y.journal.CommitRunning(); err != nil {
					t.Fatal(err)
				}
				recorder.Mark(y.state.operation)
			}
		}
		// One of the states of this life is what the next begins with.
		var next *crashtest.Image
		count := 0
		_, err = recorder.States(crashtest.Sweep{Seed: r.Uint64(), Tear: toyBlockSize, Samples: 1, Workers: 1}, func(s crashtest.State) error {
			if _, err := jbd2.Replay(toyLog(s.Image), jbd2.ReplayOptions{Blocks: toyVolume}); err != nil {
				return err
			}
			promised := s.Marks[max(0, len(s.Marks)-1):]
			if len(promised) == 0 {
				promised = []any{history[len(history)-1].operation}
			}
			if count++; r.IntN(count) == 0 {
				next = s.Image
			}
			return checkToy(s.Image, y.history, promised[0].(uint64))
		})
		if err != nil {
			t.Fatalf("life %d: %v", life, err)
		}
		image = next
		p := make([]byte, toyBlockSize)
		if _, err := image.ReadAt(p, toyIndex*toyBlockSize); err != nil {
			t.Fatal(err)
		}
		history = y.history[:1+binary.LittleEndian.Uint64(p)]
	}
}

// TestPowerLossDuringReplay crashes the recovery too.
func TestPowerLossDuringReplay(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	first := crashtest.NewRecorder(newToyImage(t))
	y, err := openToy(t, first, seed, jbd2.Options{Checksums: true})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := y.operate(); err != nil {
			t.Fatal(err)
		}
	}
	if err := y.journal.CommitRunning(); err != nil {
		t.Fatal(err)
	}
	second := crashtest.NewRecorder(first.Image.Clone())
	if _, err := jbd2.Replay(toyLog(second), jbd2.ReplayOptions{Blocks: toyVolume}); err != nil {
		t.Fatal(err)
	}
	_, err = second.States(crashtest.Sweep{Seed: seed, Tear: toyBlockSize, Samples: 20}, func(s crashtest.State) error {
		if _, err := jbd2.Replay(toyLog(s.Image), jbd2.ReplayOptions{Blocks: toyVolume}); err != nil {
			return err
		}
		return checkToy(s.Image, y.history, y.state.operation)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestEveryOperationFails fails the i-th device operation for every i. The
// journal must abort, and what was promised before must be there.
func TestEveryOperationFails(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for i := int64(0); ; i++ {
		image := newToyImage(t)
		faults := &crashtest.Faults{Volume: image, At: i, Sticky: i%2 == 0, Reads: true}
		promised := uint64(0)
		y, err := openToy(t, faults, seed, jbd2.Options{Checksums: true})
		if err == nil {
			for n := range 150 {
				if err = y.operate(); err != nil {
					break
				}
				if n%8 == 7 {
					if err = y.journal.CommitRunning(); err != nil {
						break
					}
					promised = y.state.operation
				}
			}
			if err == nil {
				err = y.journal.Close()
			}
		}
		if !faults.Tripped() {
			if err != nil {
				t.Fatalf("nothing was failed, and yet: %v", err)
			}
			t.Logf("%d operations failed in turn", i)
			return
		}
		if !errors.Is(err, crashtest.ErrFault) {
			t.Fatalf("operation %d failed; reported was: %v", i, err)
		}
		if y == nil {
			continue
		}
		var abort *jbd2.AbortError
		if e := y.journal.Err(); e != nil && !errors.As(e, &abort) {
			t.Fatalf("operation %d: Err is %v", i, e)
		}
		if y.journal.Err() != nil {
			if _, err := y.journal.Start(1); !errors.As(err, &abort) {
				t.Fatalf("operation %d: the journal aborted, and then Start returned %v", i, err)
			}
		}
		if _, err := jbd2.Replay(toyLog(image), jbd2.ReplayOptions{Blocks: toyVolume}); err != nil {
			t.Fatalf("operation %d failed, then replay: %v", i, err)
		}
		if err := checkToy(image, y.history, promised); err != nil {
			// An operation that failed half way is in no history: its blocks
			// must not have been committed, which is what was checked.
			t.Fatalf("operation %d failed: %v", i, err)
		}
	}
}
