package jbd2_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
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
