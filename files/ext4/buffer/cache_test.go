package buffer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

const testBlock = 1024

// memory is a device that counts, and that can be told to fail.
type memory struct {
	mu      sync.Mutex
	data    []byte
	reads   int
	failing atomic.Bool
}

var errDevice = errors.New("device failed")

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	if m.failing.Load() {
		return 0, errDevice
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	return copy(p, m.data[off:]), nil
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if m.failing.Load() {
		return 0, errDevice
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return copy(m.data[off:], p), nil
}

func (m *memory) Flush() error { return nil }

// newCache returns a cache over blocks that each start with their own number.
func newCache(t *testing.T, blocks, cached int) (*Cache, *memory) {
	t.Helper()
	m := &memory{data: make([]byte, blocks*testBlock)}
	for i := range blocks {
		binary.LittleEndian.PutUint64(m.data[i*testBlock:], uint64(i))
	}
	c, err := New(m, Options{BlockSize: testBlock, Blocks: uint64(blocks), Bytes: int64(cached * testBlock)})
	if err != nil {
		t.Fatal(err)
	}
	return c, m
}

func number(b *Buffer) uint64 { return binary.LittleEndian.Uint64(b.Data) }

func TestCleanBuffersMakeRoom(t *testing.T) {
	c, _ := newCache(t, 10_000, cacheBlocksMin)
	for i := range uint64(10_000) {
		b, err := c.Get(i, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		if number(b) != i {
			t.Fatalf("block %d has the content of block %d", i, number(b))
		}
		b.Release()
	}
	if s := c.Stats(); s.Cached > s.Limit {
		t.Fatalf("%d blocks cached, limit %d", s.Cached, s.Limit)
	}
}

func TestDirtyAndPinnedBuffersStay(t *testing.T) {
	c, _ := newCache(t, 10_000, cacheBlocksMin)
	var pinned []*Buffer
	for i := range uint64(2 * cacheBlocksMin) {
		b, err := c.Get(i, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			binary.LittleEndian.PutUint64(b.Data, i+1_000_000)
			b.SetDirty()
			b.Release()
		} else {
			pinned = append(pinned, b)
		}
	}
	for i := uint64(2 * cacheBlocksMin); i < 10_000; i++ {
		b, err := c.Get(i, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		b.Release()
	}
	for i := uint64(0); i < 2*cacheBlocksMin; i += 2 {
		b := c.Peek(i)
		if b == nil || number(b) != i+1_000_000 {
			t.Fatalf("dirty block %d was lost", i)
		}
		b.Release()
	}
	for i, b := range pinned {
		if number(b) != uint64(2*i+1) {
			t.Fatalf("pinned block %d changed", 2*i+1)
		}
		b.Release()
	}
	if err := c.WriteBack(); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(10_000) { // the excess is given back
		b, _ := c.Get(i, 0, nil)
		b.Release()
	}
	if s := c.Stats(); s.Cached > s.Limit || s.Dirty != 0 {
		t.Fatalf("%d blocks cached and %d dirty after write-back, limit %d", s.Cached, s.Dirty, s.Limit)
	}
}

func TestOneReaderReadsOthersWait(t *testing.T) {
	c, m := newCache(t, 100, cacheBlocksMin)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for i := range uint64(100) {
				b, err := c.Get(i, 0, nil)
				if err != nil || number(b) != i {
					t.Errorf("block %d: %v", i, err)
					return
				}
				b.Release()
			}
		})
	}
	wg.Wait()
	if m.reads != 100 {
		t.Fatalf("100 blocks took %d reads", m.reads)
	}
}

type evenOnly struct{ calls int }

func (e *evenOnly) Verify(block uint64, data []byte) error {
	e.calls++
	if block%2 != 0 {
		return fmt.Errorf("block %d is odd", block)
	}
	return nil
}

func TestContentIsVerifiedOncePerKey(t *testing.T) {
	c, _ := newCache(t, 100, cacheBlocksMin)
	v := &evenOnly{}
	for _, key := range []uint64{1, 1, 1, 2, 2} {
		b, err := c.Get(4, key, v)
		if err != nil {
			t.Fatal(err)
		}
		b.Release()
	}
	if v.calls != 2 {
		t.Fatalf("verified %d times for two keys", v.calls)
	}
	if _, err := c.Get(5, 1, v); err == nil {
		t.Fatal("a block that does not verify was returned")
	}
	b, err := c.Get(5, 0, nil)
	if err != nil {
		t.Fatalf("a block that failed as one structure cannot be read raw: %v", err)
	}
	b.Release()
}

func TestFailedReadIsNotCached(t *testing.T) {
	c, m := newCache(t, 100, cacheBlocksMin)
	m.failing.Store(true)
	_, err := c.Get(7, 0, nil)
	var io *IOError
	if !errors.As(err, &io) || io.Block != 7 || !errors.Is(err, errDevice) {
		t.Fatalf("got %v, want an IOError of block 7", err)
	}
	m.failing.Store(false)
	b, err := c.Get(7, 0, nil)
	if err != nil || number(b) != 7 {
		t.Fatalf("block is unreadable after the device recovered: %v", err)
	}
	b.SetDirty()
	m.failing.Store(true)
	if err := c.WriteBack(); !errors.As(err, &io) {
		t.Fatalf("got %v, want an IOError", err)
	}
	if !b.Dirty() {
		t.Fatal("a block whose write failed was called clean")
	}
	b.Release()
	var r *RangeError
	if _, err := c.Get(100, 0, nil); !errors.As(err, &r) {
		t.Fatalf("got %v, want a RangeError", err)
	}
}

func TestForgottenBlocksAreNotWritten(t *testing.T) {
	c, m := newCache(t, 100, cacheBlocksMin)
	b, _ := c.Get(9, 0, nil)
	binary.LittleEndian.PutUint64(b.Data, 77)
	b.SetDirty()
	c.Forget(8, 3)
	if err := c.WriteBack(); err != nil {
		t.Fatal(err)
	}
	if number(b) != 77 {
		t.Fatal("a pinned buffer lost its memory")
	}
	b.Release()
	if got := binary.LittleEndian.Uint64(m.data[9*testBlock:]); got != 9 {
		t.Fatalf("a forgotten block was written: %d", got)
	}
}

// TestAgainstMap compares random use with a map, readers running beside.
func TestAgainstMap(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	const blocks = 2000
	c, _ := newCache(t, blocks, cacheBlocksMin)
	want := make(map[uint64]uint64)
	for step := range 50_000 {
		block := r.Uint64N(blocks)
		switch r.IntN(20) {
		case 0:
			b, err := c.GetNew(block)
			if err != nil {
				t.Fatal(err)
			}
			if number(b) != 0 {
				t.Fatalf("step %d: new block %d is not zero", step, block)
			}
			want[block] = 0
			b.SetDirty()
			b.Release()
		case 1:
			b, _ := c.Get(block, 0, nil)
			want[block] = r.Uint64()
			binary.LittleEndian.PutUint64(b.Data, want[block])
			b.SetDirty()
			b.Release()
		case 2:
			c.ReadAhead(block, r.IntN(64))
		case 3:
			if c.Pressure() {
				if err := c.WriteBack(); err != nil {
					t.Fatal(err)
				}
			}
		default:
			b, err := c.Get(block, 0, nil)
			if err != nil {
				t.Fatal(err)
			}
			w, ok := want[block]
			if !ok {
				w = block
			}
			if number(b) != w {
				t.Fatalf("step %d: block %d holds %d, want %d", step, block, number(b), w)
			}
			b.Release()
		}
	}
}

func BenchmarkGetCached(b *testing.B) {
	m := &memory{data: make([]byte, 1000*testBlock)}
	c, _ := New(m, Options{BlockSize: testBlock, Blocks: 1000, Bytes: 4000 * testBlock})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		block := rand.Uint64N(1000)
		for pb.Next() {
			block = (block*5 + 1) % 1000
			buf, err := c.Get(block, 0, nil)
			if err != nil {
				b.Fatal(err)
			}
			buf.Release()
		}
	})
}
