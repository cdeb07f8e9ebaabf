package jbd2_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/quintet-os/quintet/files/ext4/crashtest"
	"github.com/quintet-os/quintet/files/ext4/jbd2"
)

// set changes one block in a handle of its own, and syncs it if asked to.
func (y *toy) set(block int, value uint64, sync bool) {
	y.t.Helper()
	h, err := y.journal.Start(1)
	if err != nil {
		y.t.Fatal(err)
	}
	sequence := h.Sequence()
	y.setIn(h, block, value)
	if err := h.Stop(); err != nil {
		y.t.Fatal(err)
	}
	if !sync {
		return
	}
	if err := y.journal.Commit(sequence); err != nil {
		y.t.Fatal(err)
	}
}

func (y *toy) setIn(h *jbd2.Handle, block int, value uint64) {
	y.t.Helper()
	b, err := y.cache.Get(uint64(toyFirst+block), 0, nil)
	if err != nil {
		y.t.Fatal(err)
	}
	defer b.Release()
	if err := h.GetWrite(b); err != nil {
		y.t.Fatal(err)
	}
	binary.LittleEndian.PutUint64(b.Data, value)
	if err := h.Dirty(b); err != nil {
		y.t.Fatal(err)
	}
}

func valueAt(image *crashtest.Image, block int) (uint64, error) {
	p := make([]byte, toyBlockSize)
	_, err := image.ReadAt(p, int64(toyFirst+block)*toyBlockSize)
	return binary.LittleEndian.Uint64(p), err
}

func mustOpenToy(t *testing.T, m *crashtest.Image) (*toy, *crashtest.Recorder) {
	t.Helper()
	recorder := crashtest.NewRecorder(m)
	y, err := openToy(t, recorder, 1, jbd2.Options{Checksums: true})
	if err != nil {
		t.Fatal(err)
	}
	return y, recorder
}

// TestCheckpointWritesNothingUncommitted has the log run out of space while an
// old block has been changed again and not committed.
func TestCheckpointWritesNothingUncommitted(t *testing.T) {
	y, recorder := mustOpenToy(t, newToyImage(t))
	const old, hot = 5, 6
	y.set(old, 1, true)
	for i := uint64(0); y.journal.Stats().Free > y.journal.Stats().Size/4+64; i++ {
		y.set(hot, i, true)
	}
	recorder.Mark("old is 1")
	waits := y.journal.Stats().SpaceWaits
	// The log is nearly full, and this handle gets in just before it is; the
	// next has to make room while the change is uncommitted.
	h, err := y.journal.Start(1)
	if err != nil {
		t.Fatal(err)
	}
	y.setIn(h, old, 2)
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	if got := y.journal.Stats().SpaceWaits; got != waits+1 {
		t.Fatalf("%d handles waited for space, want one", got-waits)
	}
	y.set(old, 3, false)
	for range 3 {
		y.set(hot, 0, false)
	}
	if err := y.journal.Flush(); err != nil {
		t.Fatal(err)
	}
	checkOld := func(s crashtest.State) error {
		if _, err := jbd2.Replay(toyLog(s.Image), jbd2.ReplayOptions{Blocks: toyVolume}); err != nil {
			return err
		}
		got, err := valueAt(s.Image, old)
		if err == nil && len(s.Marks) > 0 && got != 1 && got != 3 {
			err = fmt.Errorf("holds %d, which was never committed", got)
		}
		return err
	}
	if _, err := recorder.States(crashtest.Sweep{Seed: 1, Tear: toyBlockSize, Samples: 2}, checkOld); err != nil {
		t.Fatal(err)
	}
}

// TestLogNeverHoldsFalseMagic: a data block in the log that began with the
// magic number could be taken for a block of the log's own.
func TestLogNeverHoldsFalseMagic(t *testing.T) {
	y, recorder := mustOpenToy(t, newToyImage(t))
	var magic [8]byte
	binary.BigEndian.PutUint32(magic[:], 0xC03B3998)
	y.set(0, binary.LittleEndian.Uint64(magic[:]), true)
	p := make([]byte, toyBlockSize)
	if _, err := recorder.Image.ReadAt(p, 2*toyBlockSize); err != nil { // superblock, descriptor, data
		t.Fatal(err)
	}
	if binary.BigEndian.Uint32(p) != 0 {
		t.Fatalf("block begins with %#x in the log", p[:4])
	}
	if _, err := jbd2.Replay(toyLog(recorder.Image), jbd2.ReplayOptions{Blocks: toyVolume}); err != nil {
		t.Fatal(err)
	}
	if got, _ := valueAt(recorder.Image, 0); got != binary.LittleEndian.Uint64(magic[:]) {
		t.Fatalf("the magic number was not put back: %#x", got)
	}
}

func TestCreditsAreKept(t *testing.T) {
	y, _ := mustOpenToy(t, newToyImage(t))
	limit := y.journal.CreditsMax()
	if _, err := y.journal.Start(limit + 1); !errors.Is(err, jbd2.ErrTooLarge) {
		t.Fatalf("a handle larger than any transaction: %v", err)
	}
	h, err := y.journal.Start(limit - 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Extend(2); !errors.Is(err, jbd2.ErrNoCredits) {
		t.Fatalf("extended beyond the limit: %v", err)
	}
	if err := h.Extend(1); err != nil {
		t.Fatal(err)
	}
	y.setIn(h, 1, 1)
	y.setIn(h, 1, 2)
	if h.Credits() != limit-1 {
		t.Fatalf("one block changed twice took %d credits", limit-h.Credits())
	}
	first := h.Sequence()
	if err := h.Restart(limit); err != nil { // does not fit beside the block changed
		t.Fatal(err)
	}
	if h.Sequence() == first || !y.journal.Committed(first) {
		t.Fatal("a full transaction was not committed to make room")
	}
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := y.journal.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := y.journal.Start(1); !errors.Is(err, jbd2.ErrClosed) {
		t.Fatalf("a handle on a closed journal: %v", err)
	}
}

// TestMiscountedOperationAborts: an operation that changes more blocks than the
// transaction has room for must not be half committed.
func TestMiscountedOperationAborts(t *testing.T) {
	y, recorder := mustOpenToy(t, newToyImage(t))
	y.set(0, 1, true)
	greedy, err := y.journal.Start(y.journal.CreditsMax() - 1)
	if err != nil {
		t.Fatal(err)
	}
	h, err := y.journal.Start(1)
	if err != nil {
		t.Fatal(err)
	}
	y.setIn(h, 0, 2)
	b, err := y.cache.Get(toyFirst+1, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	var abort *jbd2.AbortError
	if err := errors.Join(h.GetWrite(b), h.Dirty(b)); !errors.As(err, &abort) || !errors.Is(err, jbd2.ErrNoCredits) {
		t.Fatalf("a second block on one credit: %v", err)
	}
	if err := h.Stop(); !errors.As(err, &abort) {
		t.Fatalf("the operation's end: %v", err)
	}
	if err := greedy.Stop(); !errors.As(err, &abort) {
		t.Fatalf("another operation's end in the same transaction: %v", err)
	}
	if err := y.journal.CommitRunning(); !errors.As(err, &abort) {
		t.Fatalf("commit: %v", err)
	}
	if _, err := jbd2.Replay(toyLog(recorder.Image), jbd2.ReplayOptions{Blocks: toyVolume}); err != nil {
		t.Fatal(err)
	}
	if got, _ := valueAt(recorder.Image, 0); got != 1 {
		t.Fatalf("block 0 holds %d, which was never committed", got)
	}
}

// TestManyWriters runs goroutines that count in blocks of their own and in one
// they share, each syncing now and then, and crashes them everywhere.
func TestManyWriters(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	recorder := crashtest.NewRecorder(newToyImage(t))
	y, err := openToy(t, recorder, seed, jbd2.Options{Checksums: true})
	if err != nil {
		t.Fatal(err)
	}
	const writers, rounds, shared = 8, 120, 100
	type promise struct {
		writer int
		value  uint64
	}
	var wg sync.WaitGroup
	var sharedMu sync.Mutex // what a file system's lock is to a block many change
	total := uint64(0)
	for w := range writers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(w)))
			for value := uint64(1); value <= rounds; value++ {
				h, err := y.journal.Start(4)
				if err != nil {
					t.Error(err)
					return
				}
				for i := range 3 { // three blocks that must agree
					y.setIn(h, 3*w+i, value)
				}
				sharedMu.Lock()
				total++
				y.setIn(h, shared, total)
				sharedMu.Unlock()
				sequence := h.Sequence()
				if err := h.Stop(); err != nil {
					t.Error(err)
				}
				if r.IntN(4) == 0 {
					if err := y.journal.Commit(sequence); err != nil {
						t.Error(err)
					}
					recorder.Mark(promise{w, value})
				}
			}
		})
	}
	wg.Wait()
	stats := y.journal.Stats()
	t.Logf("%+v", stats)
	_, err = recorder.States(crashtest.Sweep{Seed: seed, Tear: toyBlockSize, Samples: 1}, func(s crashtest.State) error {
		if _, err := jbd2.Replay(toyLog(s.Image), jbd2.ReplayOptions{Blocks: toyVolume}); err != nil {
			return err
		}
		var got [writers]uint64
		sum := uint64(0)
		for w := range writers {
			for i := range 3 {
				v, err := valueAt(s.Image, 3*w+i)
				if err != nil {
					return err
				}
				if i > 0 && v != got[w] {
					return fmt.Errorf("writer %d: blocks hold %d and %d", w, got[w], v)
				}
				got[w] = v
			}
			sum += got[w]
		}
		if v, err := valueAt(s.Image, shared); err != nil || v != sum {
			return fmt.Errorf("the shared count is %d, the sum of all %d (%v)", v, sum, err)
		}
		for _, m := range s.Marks {
			if p := m.(promise); got[p.writer] < p.value {
				return fmt.Errorf("writer %d was promised %d and finds %d", p.writer, p.value, got[p.writer])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// gate is a device whose flushes wait, once it is shut.
type gate struct {
	*crashtest.Image
	shut    chan struct{} // closed: flushes wait for open
	waiting chan struct{} // a flush has come to wait
	open    chan struct{}
}

func (g *gate) Flush() error {
	select {
	case <-g.shut:
		select {
		case g.waiting <- struct{}{}:
		default:
		}
		<-g.open
	default:
	}
	return nil
}

// TestOneCommitServesAllWhoWait: whoever asks for durability while a commit is
// under way is served, with all the others, by the next.
func TestOneCommitServesAllWhoWait(t *testing.T) {
	g := &gate{newToyImage(t), make(chan struct{}), make(chan struct{}, 1), make(chan struct{})}
	y, err := openToy(t, g, 1, jbd2.Options{Checksums: true})
	if err != nil {
		t.Fatal(err)
	}
	close(g.shut)
	const writers = 20
	var done sync.WaitGroup
	done.Go(func() { y.set(0, 1, true) })
	<-g.waiting
	var changed sync.WaitGroup
	changed.Add(writers)
	for w := range writers {
		done.Go(func() {
			y.set(1+w, 1, false)
			sequence := y.journal.Running()
			changed.Done()
			if err := y.journal.Commit(sequence); err != nil {
				t.Error(err)
			}
		})
	}
	changed.Wait()
	close(g.open)
	done.Wait()
	if commits := y.journal.Stats().Commits; commits != 2 {
		t.Fatalf("%d commits, want one for the first and one for all others", commits)
	}
}
