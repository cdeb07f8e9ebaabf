package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/quintet-os/quintet/internal/unix"
)

const (
	namesBatch  = 1000 // files that are made, renamed and removed in turn
	fsyncBatch  = 20   // of them with an fsync each
	lookupBatch = 16   // lookups between two looks at the clock
)

// files is a file system being measured, in whose one directory the names are.
type files interface {
	create(name string) error
	rename(old, new string) error
	unlink(name string) error
	look(name string) error
	fsync(name string) error
	sync() error
	// open opens the file that data is measured on; direct avoids a cache.
	open(name string, direct bool) (content, error)
	mountTook() time.Duration
	// memory is what the file system takes, in bytes.
	memory() (int64, error)
	close() error
}

// content is an open file.
type content interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Sync() error
	Close() error
}

// useFiles is the side that measures one file system.
func useFiles(t task) (any, error) {
	if t.Work == "mount" {
		return mountFiles(t)
	}
	f, err := openFiles(t)
	if err != nil {
		return nil, err
	}
	work := map[string]func(task, files) (figures, error){"names": useNames, "data": useData, "lookup": useLookup}[t.Work]
	measured, err := work(t, f)
	return measured, errors.Join(err, f.close())
}

func useNames(t task, f files) (figures, error) {
	took := map[string]time.Duration{}
	done := map[string]int{}
	phase := func(name string, n int, do func(i int) error) error {
		start := time.Now()
		for i := range n {
			if err := do(i); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		took[name] += time.Since(start)
		done[name] += n
		return f.sync()
	}
	before, after := make([]string, namesBatch), make([]string, namesBatch)
	for i := range before {
		before[i], after[i] = fmt.Sprintf("file-%06d", i), fmt.Sprintf("renamed-%06d", i)
	}
	for start := time.Now(); done["create"] == 0 || time.Since(start) < t.Duration; {
		err := errors.Join(
			phase("create", namesBatch, func(i int) error { return f.create(before[i]) }),
			phase("rename", namesBatch, func(i int) error { return f.rename(before[i], after[i]) }),
			phase("unlink", namesBatch, func(i int) error { return f.unlink(after[i]) }),
			phase("create+fsync", fsyncBatch, func(i int) error { return errors.Join(f.create(before[i]), f.fsync(before[i])) }),
			phase("", fsyncBatch, func(i int) error { return f.unlink(before[i]) }))
		if err != nil {
			return nil, err
		}
	}
	measured := figures{}
	for name, n := range done {
		measured[name] = float64(n) / took[name].Seconds()
	}
	return measured, nil
}

func useLookup(t task, f files) (figures, error) {
	random := rand.New(rand.NewPCG(1, uint64(t.Entries)))
	n, start := 0, time.Now()
	for ; n == 0 || time.Since(start) < t.Duration; n += lookupBatch {
		for range lookupBatch {
			if err := f.look(entryName(random.IntN(t.Entries))); err != nil {
				return nil, err
			}
		}
	}
	rate := float64(n) / time.Since(start).Seconds()
	bytes, err := f.memory()
	name := fmt.Sprintf("look up and stat among %d", t.Entries)
	return figures{name: rate, "resident memory after " + name: float64(bytes) / (1 << 20)}, err
}

func useData(t task, f files) (measured figures, err error) {
	if err := f.create("data"); err != nil {
		return nil, err
	}
	c, err := f.open("data", t.Direct)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	const large, small = 1 << 20, 4 << 10
	buffer, err := unix.MapAnonymous(large) // aligned, for O_DIRECT
	if err != nil {
		return nil, err
	}
	for i := range buffer {
		buffer[i] = byte(i * 7)
	}
	for off := int64(0); off < ext4DataBytes; off += large { // the blocks are there before it counts
		if _, err := c.WriteAt(buffer, off); err != nil {
			return nil, err
		}
	}
	if err := c.Sync(); err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(1, 2))
	run := func(bytes int64, next func(i int64) int64, do func(p []byte, off int64) (int, error), after func() error) (float64, error) {
		n, start := int64(0), time.Now()
		for ; n == 0 || time.Since(start) < t.Duration; n++ {
			if _, err := do(buffer[:bytes], next(n)); err != nil {
				return 0, err
			}
		}
		err := after()
		return float64(n) / time.Since(start).Seconds(), err
	}
	forward := func(i int64) int64 { return i * large % ext4DataBytes }
	anywhere := func(int64) int64 { return random.Int64N(ext4DataBytes/small) * small }
	nothing := func() error { return nil }
	measured = figures{}
	for _, w := range []struct {
		name  string
		bytes int64
		next  func(int64) int64
		do    func([]byte, int64) (int, error)
		after func() error
	}{
		{"write 1 MiB sequential", large, forward, c.WriteAt, c.Sync}, {"read 1 MiB sequential", large, forward, c.ReadAt, nothing},
		{"write 4 KiB random", small, anywhere, c.WriteAt, c.Sync}, {"read 4 KiB random", small, anywhere, c.ReadAt, nothing},
	} {
		if measured[w.name], err = run(w.bytes, w.next, w.do, w.after); err != nil {
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return measured, nil
}

// mountFiles mounts again and again.
func mountFiles(t task) (any, error) {
	var took []float64
	var bytes int64
	for start := time.Now(); len(took) == 0 || time.Since(start) < t.Duration; {
		f, err := openFiles(t)
		if err != nil {
			return nil, err
		}
		took = append(took, f.mountTook().Seconds()*1000)
		if len(took) == 1 {
			bytes, err = f.memory()
		}
		if err := errors.Join(err, f.close()); err != nil {
			return nil, err
		}
	}
	return figures{"mount": median(took), "memory for it": float64(bytes) / (1 << 20)}, nil
}

func openFiles(t task) (files, error) {
	switch t.Files {
	case sideLibrary:
		return openLibrary(t.Image, ext4Bytes)
	case sideLinux, sideFuse:
		return openMounted(context.Background(), t)
	}
	return nil, fmt.Errorf("no side %q", t.Files)
}

// ownMemory is the resident memory of this process.
func ownMemory() (int64, error) { return resident(os.Getpid()) }
