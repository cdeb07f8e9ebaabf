// Package conformance holds the tests that every storage.Volume passes, as data,
// so that each implementation runs them over itself.
package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/quintet-os/quintet/storage"
)

// sizeMin is the least size of a volume under test, in bytes.
const sizeMin = 4 << 20

// Test is one test. It may overwrite all of the volume.
type Test struct {
	Name string
	Run  func(t *testing.T, v storage.Volume)
}

// Tests are the tests, in an order that finds simple faults first.
var Tests = []Test{
	{"Geometry", geometry},
	{"WhatWasWrittenIsRead", readBack},
	{"ManySizes", manySizes},
	{"RefusesMisalignment", misaligned},
	{"RefusesOutOfBounds", outOfBounds},
	{"WriteZeroes", writeZeroes},
	{"DiscardLeavesNeighbours", discard},
	{"BlocksAreAtomic", atomicBlocks},
	{"RandomOperationsMatchAModel", matchesModel},
}

// Run runs all tests over a volume of at least 4 MiB.
func Run(t *testing.T, v storage.Volume) {
	for _, test := range Tests {
		t.Run(test.Name, func(t *testing.T) { test.Run(t, v) })
	}
}

func geometry(t *testing.T, v storage.Volume) {
	block := v.BlockSize()
	if block < storage.BlockSizeMin || block > storage.BlockSizeMax || block&(block-1) != 0 {
		t.Fatalf("block size %d", block)
	}
	if v.Size() < sizeMin || v.Size()%int64(block) != 0 {
		t.Fatalf("size %d with blocks of %d", v.Size(), block)
	}
	if !v.Writable() {
		t.Fatal("the volume under test is read-only")
	}
}

// pattern fills p with bytes that depend on their place and on seed.
func pattern(p []byte, seed uint64) {
	random := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	random.Read(p)
}

func write(t *testing.T, v storage.Volume, p []byte, off int64) {
	t.Helper()
	if n, err := v.WriteAt(p, off); n != len(p) || err != nil {
		t.Fatalf("WriteAt(%d bytes, %d) = %d, %v", len(p), off, n, err)
	}
}

func expect(t *testing.T, v storage.Volume, want []byte, off int64) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := v.ReadAt(got, off); n != len(got) || err != nil {
		t.Fatalf("ReadAt(%d bytes, %d) = %d, %v", len(got), off, n, err)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("ReadAt(%d bytes, %d): byte %d is %#x, want %#x", len(got), off, i, got[i], want[i])
		}
	}
}

func readBack(t *testing.T, v storage.Volume) {
	block := v.BlockSize()
	p := make([]byte, 2*block)
	for i, off := range []int64{0, int64(block), 5 * int64(block), v.Size() - int64(2*block)} {
		pattern(p, uint64(i))
		write(t, v, p, off)
		expect(t, v, p, off)
	}
	if err := v.Flush(); err != nil {
		t.Fatal(err)
	}
	expect(t, v, p, v.Size()-int64(2*block))
	if n, err := v.ReadAt(nil, 0); n != 0 || err != nil {
		t.Errorf("an empty read: %d, %v", n, err)
	}
	if n, err := v.WriteAt(nil, v.Size()); n != 0 || err != nil {
		t.Errorf("an empty write at the end: %d, %v", n, err)
	}
}

// manySizes crosses the sizes at which transfers are split.
func manySizes(t *testing.T, v storage.Volume) {
	block := v.BlockSize()
	for i, size := range []int{block, 3 * block, 256<<10 - block, 256 << 10, 256<<10 + block, storage.TransferMax + block, sizeMin} {
		p := make([]byte, size)
		pattern(p, uint64(100+i))
		off := v.Size() - int64(size)
		write(t, v, p, off)
		expect(t, v, p, off)
	}
}

func wantKind(t *testing.T, what string, err error, kind storage.Kind) {
	t.Helper()
	var typed *storage.Error
	if !errors.As(err, &typed) || typed.Kind != kind {
		t.Errorf("%s: %v, want %v", what, err, kind)
	}
}

func misaligned(t *testing.T, v storage.Volume) {
	block := v.BlockSize()
	_, err := v.ReadAt(make([]byte, block), 1)
	wantKind(t, "read at 1", err, storage.KindAlignment)
	_, err = v.ReadAt(make([]byte, block-1), 0)
	wantKind(t, "read of less than a block", err, storage.KindAlignment)
	_, err = v.WriteAt(make([]byte, block), int64(block/2))
	wantKind(t, "write at half a block", err, storage.KindAlignment)
	wantKind(t, "discard of half a block", v.Discard(0, int64(block/2)), storage.KindAlignment)
	wantKind(t, "zeroing at half a block", v.WriteZeroes(int64(block/2), int64(block)), storage.KindAlignment)
}

func outOfBounds(t *testing.T, v storage.Volume) {
	block := int64(v.BlockSize())
	last := make([]byte, block)
	pattern(last, 7)
	write(t, v, last, v.Size()-block)
	two := make([]byte, 2*block)
	_, err := v.ReadAt(two, v.Size()-block)
	wantKind(t, "read across the end", err, storage.KindBounds)
	_, err = v.WriteAt(two, v.Size()-block)
	wantKind(t, "write across the end", err, storage.KindBounds)
	_, err = v.ReadAt(two, -2*block)
	wantKind(t, "read before the start", err, storage.KindBounds)
	wantKind(t, "discard past the end", v.Discard(v.Size(), block), storage.KindBounds)
	wantKind(t, "zeroing of a negative length", v.WriteZeroes(0, -block), storage.KindBounds)
	wantKind(t, "zeroing of everything and more", v.WriteZeroes(block, 1<<62), storage.KindBounds)
	expect(t, v, last, v.Size()-block)
}

func writeZeroes(t *testing.T, v storage.Volume) {
	block := v.BlockSize()
	p := make([]byte, 1<<20)
	pattern(p, 8)
	write(t, v, p, 0)
	for _, r := range [][2]int{{0, block}, {3 * block, 5 * block}, {256 << 10, 512 << 10}} {
		if err := v.WriteZeroes(int64(r[0]), int64(r[1])); err != nil {
			t.Fatal(err)
		}
		clear(p[r[0] : r[0]+r[1]])
		expect(t, v, p, 0)
	}
}

func discard(t *testing.T, v storage.Volume) {
	block := v.BlockSize()
	p := make([]byte, 256<<10)
	pattern(p, 9)
	write(t, v, p, 0)
	off, length := 64<<10, 64<<10
	if err := v.Discard(int64(off), int64(length)); err != nil {
		t.Fatal(err)
	}
	expect(t, v, p[:off], 0)
	expect(t, v, p[off+length:], int64(off+length))
	write(t, v, p[:block], int64(off))
	expect(t, v, p[:block], int64(off))
}

// atomicBlocks has writers and readers meet on one range.
func atomicBlocks(t *testing.T, v storage.Volume) {
	const writers, rounds = 4, 25
	size := 4 * v.BlockSize()
	write(t, v, make([]byte, size), 0)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			mine, got := bytes.Repeat([]byte{byte(w + 1)}, size), make([]byte, size)
			for range rounds {
				if _, err := v.WriteAt(mine, 0); err != nil {
					t.Error(err)
					return
				}
				if _, err := v.ReadAt(got, 0); err != nil {
					t.Error(err)
					return
				}
				if i := len(got) - len(bytes.TrimLeft(got, string(got[:1]))); i < len(got) {
					t.Errorf("a read saw the write of %d at its start and that of %d at %d", got[0], got[i], i)
					return
				}
			}
		})
	}
	wg.Wait()
}

// matchesModel runs random operations from several goroutines, each on its own
// part of the volume, and compares with memory.
func matchesModel(t *testing.T, v storage.Volume) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	const workers, steps = 4, 150
	block := v.BlockSize()
	part := sizeMin / workers / 2
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			if err := model(v, rand.New(rand.NewPCG(seed, uint64(w))), int64(w*part), part/block, steps); err != nil {
				t.Errorf("seed %d, worker %d: %v", seed, w, err)
			}
		})
	}
	wg.Wait()
}

func model(v storage.Volume, random *rand.Rand, base int64, blocks, steps int) error {
	block := v.BlockSize()
	want, got := make([]byte, blocks*block), make([]byte, blocks*block)
	if err := v.WriteZeroes(base, int64(len(want))); err != nil {
		return err
	}
	for step := range steps {
		first := random.IntN(blocks)
		from, to := first*block, (first+1+random.IntN(min(blocks-first, 64)))*block
		off := base + int64(from)
		var err error
		switch random.IntN(8) {
		case 0, 1, 2:
			pattern(want[from:to], random.Uint64())
			_, err = v.WriteAt(want[from:to], off)
		case 3:
			clear(want[from:to])
			err = v.WriteZeroes(off, int64(to-from))
		case 4:
			err = v.Flush()
		default:
			if _, err = v.ReadAt(got[from:to], off); err == nil && !bytes.Equal(got[from:to], want[from:to]) {
				err = fmt.Errorf("bytes %d to %d differ from the model", from, to)
			}
		}
		if err != nil {
			return fmt.Errorf("step %d: %w", step, err)
		}
	}
	if _, err := v.ReadAt(got, base); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errors.New("at the end the volume differs from the model")
	}
	return nil
}
