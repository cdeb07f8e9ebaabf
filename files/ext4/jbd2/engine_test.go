package jbd2_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/crashtest"
	"github.com/quintet-os/quintet/files/ext4/jbd2"
)

// The toy file system of these tests has an index block, which says of every
// other block whether it holds metadata or data and which version, and the
// blocks themselves. So that its log wraps soon, it is as small as can be.
const (
	toyBlockSize  = 1024
	toyJournal    = 1024 // blocks of the journal, which come first
	toyIndex      = toyJournal
	toyFirst      = toyIndex + 1
	toyBlocks     = 110
	toyHot        = 12 // blocks that most operations pick from
	toyVolume     = toyFirst + toyBlocks
	kindFree      = 0
	kindMeta      = 1
	kindData      = 2
	toyCredits    = 8
	toyDataMarker = 0xC03B3998 // data and metadata begin with the journal's magic now and then
)

type toyEntry struct {
	kind    byte
	version uint64
}

// toyState is the whole content at one moment.
type toyState struct {
	operation uint64
	entries   [toyBlocks]toyEntry
}

func (s *toyState) marshal(p []byte) {
	binary.LittleEndian.PutUint64(p, s.operation)
	for i, e := range s.entries {
		p[8+9*i] = e.kind
		binary.LittleEndian.PutUint64(p[9+9*i:], e.version)
	}
}

func (s *toyState) unmarshal(p []byte) {
	s.operation = binary.LittleEndian.Uint64(p)
	for i := range s.entries {
		s.entries[i] = toyEntry{p[8+9*i], binary.LittleEndian.Uint64(p[9+9*i:])}
	}
}

// fill makes the content of a block of some version; each seventh needs escaping.
func fill(p []byte, block int, e toyEntry) {
	for i := range p {
		p[i] = byte(e.version) + byte(i)*e.kind
	}
	binary.LittleEndian.PutUint64(p[8:], uint64(block))
	binary.LittleEndian.PutUint64(p[16:], e.version)
	if e.version%7 == 0 {
		binary.BigEndian.PutUint32(p, toyDataMarker)
	}
}

// WriteOrdered is called while a commit is under way, before it copies its blocks.
func (y *toy) WriteOrdered() error {
	y.meanwhile()
	return nil
}

// meanwhile does operations in the running transaction while another commits.
// They must not have to wait for space: what they would wait for is the commit.
func (y *toy) meanwhile() {
	if s := y.journal.Stats(); s.Free < s.Size/2 {
		return
	}
	for range y.interludes {
		if err := y.operate(); err != nil {
			y.t.Errorf("operation during a commit: %v", err)
		}
	}
}

type toy struct {
	t        testing.TB
	device   buffer.Device
	random   *rand.Rand
	cache    *buffer.Cache
	journal  *jbd2.Journal
	mu       sync.Mutex
	state    toyState
	reusable [toyBlocks]bool // free, and the commit that freed it is durable
	version  uint64
	history  []toyState // by operation

	interludes int // operations done inside of each commit, twice
}

func toyLog(d buffer.Device) *jbd2.Log {
	// Two runs, so that writes are split where the journal file is.
	return &jbd2.Log{Device: d, BlockSize: toyBlockSize, Runs: []jbd2.Run{{Start: 0, Count: 100}, {Start: 100, Count: toyJournal - 100}}}
}

func newToyImage(t testing.TB) *crashtest.Image {
	m := crashtest.NewImage(toyVolume * toyBlockSize)
	if _, err := m.WriteAt(jbd2.NewSuperblock(toyBlockSize, toyJournal, [16]byte{1, 2, 3}), 0); err != nil {
		t.Fatal(err)
	}
	return m
}

func openToy(t testing.TB, d buffer.Device, seed uint64, o jbd2.Options) (*toy, error) {
	y := &toy{t: t, device: d, random: rand.New(rand.NewPCG(seed, 1))}
	var err error
	if y.cache, err = buffer.New(d, buffer.Options{BlockSize: toyBlockSize, Blocks: toyVolume}); err != nil {
		return nil, err
	}
	o.Cache = y.cache
	o.Now = func() time.Time {
		// Called while a commit is under way, after it has copied its blocks.
		y.meanwhile()
		return time.Unix(1_700_000_000, 0)
	}
	if y.journal, err = jbd2.Open(*toyLog(d), o); err != nil {
		return nil, err
	}
	for i := range y.reusable {
		y.reusable[i] = true
	}
	y.history = append(y.history, y.state)
	return y, nil
}

// operate does one random operation; it is atomic.
func (y *toy) operate() (err error) {
	h, err := y.journal.Start(toyCredits)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Stop()) }()
	y.mu.Lock()
	defer y.mu.Unlock()
	next := y.state
	next.operation++
	for range 1 + y.random.IntN(toyCredits-1) {
		i := y.random.IntN(toyHot)
		if y.random.IntN(5) == 0 {
			i = y.random.IntN(toyBlocks)
		}
		block := uint64(toyFirst + i)
		e := &next.entries[i]
		y.version++
		switch {
		case e.kind == kindFree && y.reusable[i] && y.random.IntN(2) == 0:
			b, err := h.Create(block)
			if err != nil {
				return err
			}
			*e = toyEntry{kindMeta, y.version}
			fill(b.Data, i, *e)
			err = h.Dirty(b)
			b.Release()
			if err != nil {
				return err
			}
			y.reusable[i] = false
		case e.kind == kindFree && y.reusable[i]:
			*e = toyEntry{kindData, y.version}
			p := make([]byte, toyBlockSize)
			fill(p, i, *e)
			if _, err := y.device.WriteAt(p, int64(block)*toyBlockSize); err != nil {
				return err
			}
			y.reusable[i] = false
		case e.kind == kindMeta && y.random.IntN(4) > 0:
			b, err := y.cache.Get(block, 0, nil)
			if err != nil {
				return err
			}
			if err := h.GetWrite(b); err != nil {
				b.Release()
				return err
			}
			*e = toyEntry{kindMeta, y.version}
			fill(b.Data, i, *e)
			err = h.Dirty(b)
			b.Release()
			if err != nil {
				return err
			}
		case e.kind != kindFree:
			if e.kind == kindMeta {
				if err := h.Forget(block); err != nil {
					return err
				}
			}
			*e = toyEntry{}
			h.OnCommit(func() {
				y.mu.Lock()
				y.reusable[i] = true
				y.mu.Unlock()
			})
		}
	}
	b, err := y.cache.Get(toyIndex, 0, nil)
	if err != nil {
		return err
	}
	defer b.Release()
	if err := h.GetWrite(b); err != nil {
		return err
	}
	next.marshal(b.Data)
	if err := h.Dirty(b); err != nil {
		return err
	}
	if y.interludes > 0 {
		h.AddOrdered(y)
	}
	y.state = next
	y.history = append(y.history, next)
	return nil
}

// checkToy requires that an image holds exactly one moment of the history, and
// none before the last promise.
func checkToy(image *crashtest.Image, history []toyState, promised uint64) error {
	p := make([]byte, toyBlockSize)
	if _, err := image.ReadAt(p, toyIndex*toyBlockSize); err != nil {
		return err
	}
	var got toyState
	got.unmarshal(p)
	if got.operation < promised {
		return fmt.Errorf("operation %d was promised, %d is there", promised, got.operation)
	}
	if got.operation >= uint64(len(history)) || got != history[got.operation] {
		return fmt.Errorf("the index of operation %d is not what it was", got.operation)
	}
	want := make([]byte, toyBlockSize)
	for i, e := range got.entries {
		if e.kind == kindFree {
			continue
		}
		fill(want, i, e)
		if _, err := image.ReadAt(p, int64(toyFirst+i)*toyBlockSize); err != nil {
			return err
		}
		if string(p) != string(want) {
			return fmt.Errorf("operation %d: block %d (kind %d, version %d) holds version %d",
				got.operation, i, e.kind, e.version, binary.LittleEndian.Uint64(p[16:]))
		}
	}
	return nil
}

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
	for _, f := range featureSets {
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
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	lives := 60
	if os.Getenv("QUINTET_LONG") != "" {
		lives = 2000
	}
	image := newToyImage(t)
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

// resume goes on where a history ended.
func (y *toy) resume(history []toyState) {
	y.history = append([]toyState(nil), history...)
	y.state = history[len(history)-1]
	// No version may come twice, or old content could pass for new.
	y.version = uint64(len(history)+1)<<20 + y.random.Uint64N(1<<19)
	for i, e := range y.state.entries {
		y.reusable[i] = e.kind == kindFree
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
