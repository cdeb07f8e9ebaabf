package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
)

const poolUnits = 8

// asked is a goroutine that asks for a buffer.
type asked struct {
	buffer *Buffer
	err    error
	done   chan struct{}
}

// ask asks for units in another goroutine, and returns when it waits, as the
// place-th of the queue, or has got them.
func ask(ctx context.Context, b *Buffers, units, place int) *asked {
	a := &asked{done: make(chan struct{})}
	go func() {
		a.buffer, a.err = b.Get(ctx, units*bufferUnit)
		close(a.done)
	}()
	for waiting(b) < place {
		runtime.Gosched()
	}
	return a
}

func waiting(b *Buffers) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue)
}

func get(t *testing.T, b *Buffers, units int) *Buffer {
	t.Helper()
	buffer, err := b.Get(context.Background(), units*bufferUnit)
	if err != nil {
		t.Fatal(err)
	}
	return buffer
}

func newPool() *Buffers { return NewBuffers(0, make([]byte, poolUnits*bufferUnit)) }

// TestBuffersWaitInOrder: a small demand that would fit does not overtake a large
// one that waits.
func TestBuffersWaitInOrder(t *testing.T) {
	b := newPool()
	first, second := get(t, b, 4), get(t, b, 4)
	large := ask(context.Background(), b, 6, 1)
	small := ask(context.Background(), b, 1, 2)
	first.Release()
	if n := waiting(b); n != 2 {
		t.Fatalf("%d wait, want both: there is no room for the first of them", n)
	}
	second.Release()
	<-large.done
	<-small.done
	if large.err != nil || small.err != nil {
		t.Fatal(large.err, small.err)
	}
	large.buffer.Release()
	small.buffer.Release()
	get(t, b, poolUnits).Release()
}

// TestBuffersGivenUp: who is behind one that has given up is served.
func TestBuffersGivenUp(t *testing.T) {
	b := newPool()
	held := get(t, b, 4)
	ctx, cancel := context.WithCancel(context.Background())
	large := ask(ctx, b, 6, 1)
	small := ask(context.Background(), b, 4, 2)
	cancel()
	if <-large.done; !errors.Is(large.err, context.Canceled) {
		t.Errorf("given up: %v", large.err)
	}
	if <-small.done; small.err != nil {
		t.Error(small.err)
	}
	held.Release()
}

func TestBuffersFail(t *testing.T) {
	b := newPool()
	held := get(t, b, poolUnits)
	waiter := ask(context.Background(), b, 1, 1)
	ended := errors.New("ended")
	b.Fail(ended)
	if <-waiter.done; waiter.err != ended {
		t.Errorf("who waited got %v", waiter.err)
	}
	held.Release()
	if _, err := b.Get(context.Background(), 1); err != ended {
		t.Errorf("who asks later gets %v", err)
	}
}

func TestBuffersRefuse(t *testing.T) {
	b := newPool()
	for _, n := range []int{-1, 0, b.Bytes() + 1} {
		if _, err := b.Get(context.Background(), n); err == nil {
			t.Errorf("a buffer of %d bytes of a pool of %d", n, b.Bytes())
		}
	}
}

// TestBuffersAreDisjoint has many goroutines take, fill and give back buffers.
func TestBuffersAreDisjoint(t *testing.T) {
	const workers, rounds = 8, 300
	seed := rand.Uint64()
	b := NewBuffers(0, make([]byte, 71*bufferUnit)) // more than a word of units
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(w)))
			for range rounds {
				buffer := get(t, b, 1+random.IntN(30))
				for i := range buffer.Mem {
					buffer.Mem[i] = byte(w)
				}
				runtime.Gosched()
				for i, got := range buffer.Mem {
					if got != byte(w) {
						t.Errorf("seed %d: byte %d of the buffer of %d was written by %d", seed, i, w, got)
						return
					}
				}
				buffer.Release()
			}
		})
	}
	wg.Wait()
	get(t, b, 71).Release()
}
