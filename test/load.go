package test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/quintet-os/quintet/app"
)

const (
	loadBlock  = 4096
	loadBlocks = 16 // of each worker
	loadMax    = 4  // blocks of one request
)

// Load writes and reads a volume with several workers, each in blocks of its
// own, and knows what every block must contain: a number that grows with each
// write. An acknowledged write that is not there was lost; a number older than
// the last one written means that an older write ran again.
type Load struct {
	Requests atomic.Uint64
	stop     chan struct{}
	workers  sync.WaitGroup
	mu       sync.Mutex
	problems []string
}

// StartLoad starts the workers, the first at block first.
func StartLoad(v *app.Volume, workers, first int, seed uint64) *Load {
	l := &Load{stop: make(chan struct{})}
	for w := range workers {
		l.workers.Go(func() {
			l.work(v, int64(first+w*loadBlocks)*loadBlock, rand.New(rand.NewPCG(seed, uint64(first+w))))
		})
	}
	return l
}

// Stop ends the workers, after what they have begun, and returns what went
// wrong.
func (l *Load) Stop() []string {
	close(l.stop)
	l.workers.Wait()
	return l.problems
}

func (l *Load) problem(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.problems) < 10 {
		l.problems = append(l.problems, fmt.Sprintf(format, args...))
	}
}

func (l *Load) work(v *app.Volume, base int64, r *rand.Rand) {
	var number uint64
	var expected [loadBlocks]uint64
	var known [loadBlocks]bool
	buffer := make([]byte, loadMax*loadBlock)
	for {
		select {
		case <-l.stop:
			return
		default:
		}
		n := 1 + r.IntN(loadMax)
		first := r.IntN(loadBlocks - n + 1)
		p, off := buffer[:n*loadBlock], base+int64(first)*loadBlock
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		l.Requests.Add(1)
		if r.IntN(2) == 0 {
			for i := range n {
				number++
				fill(p[i*loadBlock:(i+1)*loadBlock], number)
				expected[first+i], known[first+i] = number, true
			}
			if _, err := v.Write(ctx, p, off, 0); err != nil {
				l.problem("write at %d: %v", off, err)
				cancel()
				return
			}
		} else {
			clear(p)
			if _, err := v.Read(ctx, p, off); err != nil {
				l.problem("read at %d: %v", off, err)
				cancel()
				return
			}
			for i := range n {
				if known[first+i] {
					l.check(p[i*loadBlock:(i+1)*loadBlock], expected[first+i], off+int64(i)*loadBlock)
				}
			}
		}
		cancel()
	}
}

func fill(block []byte, number uint64) {
	for i := 0; i < len(block); i += 8 {
		binary.LittleEndian.PutUint64(block[i:], number)
	}
}

func (l *Load) check(block []byte, want uint64, off int64) {
	expected := make([]byte, len(block))
	fill(expected, want)
	if bytes.Equal(block, expected) {
		return
	}
	got := binary.LittleEndian.Uint64(block)
	switch {
	case got < want:
		l.problem("at %d: number %d after %d was acknowledged: a write was lost or an older one ran again", off, got, want)
	default:
		l.problem("at %d: number %d, want %d", off, got, want)
	}
}
