package storagetest_test

import (
	"context"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quintet-os/quintet/storage"
	"github.com/quintet-os/quintet/storage/client"
	"github.com/quintet-os/quintet/storage/device"
	"github.com/quintet-os/quintet/storage/storagetest"
)

const (
	stormKills      = 200
	stormKillsShort = 40
	stormKillsLong  = 10_000 // QUINTET_LONG
	stormSessions   = 4
	stormWorkers    = 3 // of a session
	stormPause      = 60
	hotBlocks       = 8         // at the start of a part: half of all operations go there
	partBytes       = 256 << 10 // the shared part of a volume, and each worker's own
	volumeBytes     = (1 + stormSessions*stormWorkers) * partBytes
)

// storm is many clients at work on two volumes.
type storm struct {
	t         *testing.T
	seed      uint64
	histories [2]*storagetest.History
	over      atomic.Bool
	done      atomic.Int64 // operations
	target    atomic.Int64
	reached   chan struct{} // holds a token once done has reached target
	workers   sync.WaitGroup
}

// TestStorm kills the server again and again while clients read, write, zero,
// discard and flush ranges of their own and ranges of all. Every block must have
// behaved as one register, and every request must have been answered.
func TestStorm(t *testing.T) {
	kills := stormKills
	if testing.Short() {
		kills = stormKillsShort
	}
	if os.Getenv("QUINTET_LONG") != "" {
		kills = stormKillsLong
	}
	s := &storm{t: t, seed: rand.Uint64(), reached: make(chan struct{}, 1)}
	t.Logf("seed %d", s.seed)
	random := rand.New(rand.NewPCG(s.seed, 0))
	served := storagetest.Start(t, storage.Limits{Requests: 12}, shuffled(rand.New(rand.NewPCG(s.seed, 1<<32))), file(t))
	var sessions []*storagetest.Session
	for range stormSessions {
		sessions = append(sessions, served.Connect(storagetest.Grant{Volume: 0}, storagetest.Grant{Volume: 1}))
	}
	for i, v := range sessions[0].Volumes {
		s.histories[i] = storagetest.NewHistory(v.BlockSize())
	}
	for i, session := range sessions {
		for w := range stormWorkers {
			number := i*stormWorkers + w
			s.workers.Go(func() { s.work(session, number) })
		}
	}
	for range kills {
		s.Progress(random.Int64N(stormPause))
		served.Kill(1 + random.IntN(40))
		served.Succeed()
	}
	s.Progress(stormPause)
	s.over.Store(true)
	s.workers.Wait()
	for i, h := range s.histories {
		if err := h.Check(); err != nil {
			t.Errorf("seed %d: volume %d: %v", s.seed, i, err)
		}
	}
	var requests uint64
	for _, session := range sessions {
		if n := session.IPC.Inspect().InFlight; n != 0 {
			t.Errorf("%d requests are still in flight", n)
		}
		requests += session.Client.Counters().Requests
	}
	t.Logf("%d kills, %d operations, %d requests, %d taken over", kills, s.done.Load(), requests, served.Replayed())
	if served.Replayed() == 0 {
		t.Error("no kill met a request in flight")
	}
}

// Progress waits until n more operations have ended.
func (s *storm) Progress(n int64) {
	s.target.Store(s.done.Load() + n)
	for s.done.Load() < s.target.Load() {
		<-s.reached
	}
}

// work is one client goroutine; it has one buffer for each way of transfer.
func (s *storm) work(session *storagetest.Session, number int) {
	random := rand.New(rand.NewPCG(s.seed, uint64(number)+1))
	plain := make([]byte, partBytes)
	granted, err := session.Client.Buffers().Get(context.Background(), partBytes)
	if err != nil {
		s.t.Error(err)
		return
	}
	defer granted.Release()
	for !s.over.Load() {
		i := random.IntN(len(session.Volumes))
		if err := operate(session.Volumes[i], s.histories[i], number, random, plain, granted); err != nil {
			s.t.Errorf("seed %d, worker %d: %v", s.seed, number, err)
			s.over.Store(true)
		}
		if n := s.done.Add(1); n >= s.target.Load() || s.over.Load() {
			select {
			case s.reached <- struct{}{}:
			default:
			}
		}
	}
}

// operate carries out one random operation, on the part of all workers or on the
// worker's own.
func operate(v *client.Volume, h *storagetest.History, number int, random *rand.Rand, plain []byte, granted *client.Buffer) error {
	block := v.BlockSize()
	base := 0
	if random.IntN(3) == 0 {
		base = (1 + number) * partBytes
	}
	blocks := hotBlocks
	if random.IntN(2) == 0 {
		blocks = partBytes / block
	}
	first := random.IntN(blocks)
	n := (1 + random.IntN(min(blocks-first, 16))) * block
	off, length := int64(base+first*block), int64(n)
	ctx := context.Background()
	switch random.IntN(12) {
	case 0, 1:
		return h.Write(plain[:n], off, func() error { _, err := v.WriteAt(plain[:n], off); return err })
	case 2, 3:
		return h.Write(granted.Mem[:n], off, func() error {
			_, err := v.WriteBuffer(ctx, granted, 0, n, off, storage.Flags(random.IntN(2))*storage.FlagFUA)
			return err
		})
	case 4:
		return h.Range(storage.OpWriteZeroes, off, length, func() error { return v.WriteZeroes(off, length) })
	case 5:
		return h.Range(storage.OpDiscard, off, length, func() error { return v.Discard(off, length) })
	case 6:
		return v.Flush()
	case 7, 8, 9:
		return h.Read(plain[:n], off, func() error { _, err := v.ReadAt(plain[:n], off); return err })
	default:
		return h.Read(granted.Mem[:n], off, func() error { _, err := v.ReadBuffer(ctx, granted, 0, n, off); return err })
	}
}

// shuffled opens the same memory each time.
func shuffled(random *rand.Rand) storagetest.Open {
	data := make([]byte, volumeBytes)
	return func() (storage.Device, error) {
		memory, err := device.NewMemory(data, 512, 32)
		if err != nil {
			return nil, err
		}
		return storagetest.Shuffle(memory, 32, random)
	}
}

// file opens a file anew each time, and takes the fence.
func file(t *testing.T) storagetest.Open {
	path := storagetest.Image(t, t.TempDir(), volumeBytes)
	return func() (storage.Device, error) {
		fd, err := storagetest.Descriptor(path)
		if err != nil {
			return nil, err
		}
		f, err := device.NewFile(fd, device.Options{Depth: 16})
		if err != nil {
			return nil, err
		}
		return f, f.Fence()
	}
}
