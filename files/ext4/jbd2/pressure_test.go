package jbd2_test

import (
	"context"
	"testing"
	"time"

	"github.com/quintet-os/quintet/files/ext4/buffer"
	"github.com/quintet-os/quintet/files/ext4/image"
	"github.com/quintet-os/quintet/files/ext4/jbd2"
)

// bigJournal opens a journal of 64 MiB in blocks of 1 KiB over a cache as small
// as can be, so that the cache is full of changes long before the log is.
func bigJournal(t *testing.T) (*jbd2.Journal, *buffer.Cache) {
	t.Helper()
	const journal, blocks, size = 64 << 10, 128 << 10, 1024
	m := image.NewMemory(blocks * size)
	if _, err := m.WriteAt(jbd2.NewSuperblock(size, journal, [16]byte{1}), 0); err != nil {
		t.Fatal(err)
	}
	cache, err := buffer.New(m, buffer.Options{BlockSize: size, Blocks: blocks})
	if err != nil {
		t.Fatal(err)
	}
	j, err := jbd2.Open(jbd2.Log{Device: m, BlockSize: size, Runs: []jbd2.Run{{Count: journal}}},
		jbd2.Options{Cache: cache, Now: time.Now, Checksums: true})
	if err != nil {
		t.Fatal(err)
	}
	return j, cache
}

// change dirties adjacent blocks in one handle.
func change(t *testing.T, j *jbd2.Journal, cache *buffer.Cache, first uint64, n int, onCommit func()) {
	t.Helper()
	h, err := j.Start(n)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		b, err := cache.Get(64<<10+first+uint64(i), 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.GetWrite(b); err != nil {
			t.Fatal(err)
		}
		b.Data[0]++
		if err := h.Dirty(b); err != nil {
			t.Fatal(err)
		}
		b.Release()
	}
	if onCommit != nil {
		h.OnCommit(onCommit)
	}
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
}

// TestCacheStaysBounded: however large the log, changes waiting for it do not
// fill the memory.
func TestCacheStaysBounded(t *testing.T) {
	j, cache := bigJournal(t)
	most := int64(0)
	for i := range uint64(5000) {
		change(t, j, cache, i*8, 8, nil)
		most = max(most, cache.Stats().Cached)
	}
	limit := cache.Stats().Limit
	if most > limit+limit/4 {
		t.Fatalf("%d blocks were cached at once, of %d configured", most, limit)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if dirty := cache.Stats().Dirty; dirty != 0 {
		t.Fatalf("%d blocks are dirty after closing", dirty)
	}
}

// TestRunCommitsBeforeAnybodyMust: with Run, a transaction that is half full is
// committed although nobody asked.
func TestRunCommitsBeforeAnybodyMust(t *testing.T) {
	m := image.NewMemory(4096 * 1024)
	if _, err := m.WriteAt(jbd2.NewSuperblock(1024, 1024, [16]byte{1}), 0); err != nil {
		t.Fatal(err)
	}
	cache, err := buffer.New(m, buffer.Options{BlockSize: 1024, Blocks: 4096, Bytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	j, err := jbd2.Open(jbd2.Log{Device: m, BlockSize: 1024, Runs: []jbd2.Run{{Count: 1024}}}, jbd2.Options{Cache: cache, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		j.Run(ctx)
	}()
	h, err := j.Start(j.CreditsMax()/2 + 2)
	if err != nil {
		t.Fatal(err)
	}
	for i := range h.Credits() {
		b, err := cache.Get(1024+uint64(i), 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.GetWrite(b); err != nil {
			t.Fatal(err)
		}
		if err := h.Dirty(b); err != nil {
			t.Fatal(err)
		}
		b.Release()
	}
	committed := make(chan struct{})
	h.OnCommit(func() { close(committed) })
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	<-committed
	cancel()
	<-stopped
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}
