package scq

import (
	"runtime"
	"sync"
	"testing"
)

func TestFirstInFirstOutUntilFull(t *testing.T) {
	q := New[int](8)
	for lap := range 100 {
		for i := range 8 {
			if !q.Enqueue(lap*8 + i) {
				t.Fatalf("lap %d: full after %d values", lap, i)
			}
		}
		if q.Enqueue(-1) {
			t.Fatalf("lap %d: took a ninth value", lap)
		}
		for i := range 8 {
			if got, ok := q.Dequeue(); !ok || got != lap*8+i {
				t.Fatalf("lap %d: got %d, %v; want %d", lap, got, ok, lap*8+i)
			}
		}
		if got, ok := q.Dequeue(); ok {
			t.Fatalf("lap %d: got %d from an empty queue", lap, got)
		}
	}
}

// Every value arrives once, and those of one producer in order.
func TestManyProducersAndConsumers(t *testing.T) {
	const producers, consumers, each = 4, 4, 20_000
	q := New[[2]int](16)
	var producing, consuming sync.WaitGroup
	for p := range producers {
		producing.Go(func() {
			for i := range each {
				for !q.Enqueue([2]int{p, i}) {
					runtime.Gosched()
				}
			}
		})
	}
	done := make(chan struct{})
	got := make([][][2]int, consumers)
	for c := range consumers {
		consuming.Go(func() {
			for {
				value, ok := q.Dequeue()
				if ok {
					got[c] = append(got[c], value)
					continue
				}
				select {
				case <-done:
					return
				default:
					runtime.Gosched()
				}
			}
		})
	}
	producing.Wait()
	total := func() (n int) {
		for _, values := range got {
			n += len(values)
		}
		return n
	}
	close(done)
	consuming.Wait()
	for { // consumers that saw the end early left the rest
		value, ok := q.Dequeue()
		if !ok {
			break
		}
		got[0] = append(got[0], value)
	}
	if total() != producers*each {
		t.Fatalf("%d values arrived of %d", total(), producers*each)
	}
	seen := make(map[[2]int]bool, producers*each)
	for c, values := range got {
		var last [producers]int
		for i := range last {
			last[i] = -1
		}
		for _, v := range values {
			if seen[v] {
				t.Fatalf("%v arrived twice", v)
			}
			seen[v] = true
			if v[1] <= last[v[0]] && c != 0 {
				t.Fatalf("consumer %d: producer %d's value %d came after %d", c, v[0], v[1], last[v[0]])
			}
			last[v[0]] = v[1]
		}
	}
}
