package jbd2_test

import (
	"testing"
	"time"

	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/image"
	"github.com/quintet-os/quintet/files/ext4/jbd2"
)

// BenchmarkOperation is an operation that changes five blocks of 4 KiB, as
// making a file does, over memory: committed when the journal must, not synced.
func BenchmarkOperation(b *testing.B) {
	j, cache := benchJournal(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		benchOperate(b, j, cache, i)
	}
}

// BenchmarkSync is the same, each operation synced, from many goroutines.
func BenchmarkSync(b *testing.B) {
	j, cache := benchJournal(b)
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if err := j.Commit(benchOperate(b, j, cache, i)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/float64(j.Stats().Commits), "ops/commit")
}

const benchJournalBlocks = 16384

func benchJournal(b *testing.B) (*jbd2.Journal, *buffer.Cache) {
	const blocks, size = 64 << 10, 4096
	m := image.NewMemory(blocks * size)
	if _, err := m.WriteAt(jbd2.NewSuperblock(size, benchJournalBlocks, [16]byte{1}), 0); err != nil {
		b.Fatal(err)
	}
	cache, err := buffer.New(m, buffer.Options{BlockSize: size, Blocks: blocks, Bytes: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	j, err := jbd2.Open(jbd2.Log{Device: m, BlockSize: size, Runs: []jbd2.Run{{Start: 0, Count: benchJournalBlocks}}},
		jbd2.Options{Cache: cache, Now: time.Now, Checksums: true, Wide: true})
	if err != nil {
		b.Fatal(err)
	}
	return j, cache
}

func benchOperate(b *testing.B, j *jbd2.Journal, cache *buffer.Cache, i int) (sequence uint32) {
	h, err := j.Start(8)
	if err != nil {
		b.Fatal(err)
	}
	// Two hot blocks, an inode table block for every 16 operations, a
	// directory block for every 60, and one of its own now and then.
	for _, block := range [5]int{0, 1, 2 + i/16%8000, 10_000 + i/60%8000, 20_000 + i/100%8000} {
		buf, err := cache.Get(uint64(benchJournalBlocks+block), 0, nil)
		if err != nil {
			b.Fatal(err)
		}
		if err := h.GetWrite(buf); err != nil {
			b.Fatal(err)
		}
		if err := h.Dirty(buf); err != nil {
			b.Fatal(err)
		}
		buf.Release()
	}
	sequence = h.Sequence()
	if err := h.Stop(); err != nil {
		b.Fatal(err)
	}
	return sequence
}
