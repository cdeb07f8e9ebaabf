package storagetest

import (
	"fmt"
	"slices"
	"sort"

	"github.com/quintet-os/quintet/storage"
)

// register is the history of one block.
type register struct {
	clusters map[uint64]*cluster // by value, but for zero
	zeroing  []interval          // by write-zeroes and discards
	zeroed   []interval          // write-zeroes: the block was zero at some time within
	zeroRead []interval
}

type interval struct{ begin, end int64 }

// cluster is a write and the reads that saw its value. The value was in the
// block from firstEnd to lastBegin, or, where that is empty, at some time
// between lastBegin and firstEnd.
type cluster struct {
	value               uint64
	written             bool
	begin               int64 // of the write
	firstEnd, lastBegin int64
}

func (r *register) cluster(value uint64) *cluster {
	c := r.clusters[value]
	if c == nil {
		c = &cluster{value: value, firstEnd: 1<<63 - 1}
		r.clusters[value] = c
	}
	return c
}

// add enters an operation; i is the block's place in its range.
func (r *register) add(e *event, i int64) {
	at := interval{e.begin, e.end}
	switch {
	case e.op == storage.OpDiscard:
		r.zeroing = append(r.zeroing, at)
		return
	case e.op == storage.OpWriteZeroes:
		r.zeroing, r.zeroed = append(r.zeroing, at), append(r.zeroed, at)
		return
	case e.op == storage.OpRead && e.seen[i] == 0:
		r.zeroRead = append(r.zeroRead, at)
		return
	}
	value := e.value
	if e.op == storage.OpRead {
		value = e.seen[i]
	}
	c := r.cluster(value)
	if e.op == storage.OpWrite {
		c.written, c.begin = true, e.begin
	}
	c.firstEnd, c.lastBegin = min(c.firstEnd, e.end), max(c.lastBegin, e.begin)
}

func (r *register) check() error {
	var forward []*cluster
	backward := slices.Concat(r.zeroed, r.zeroRead)
	for _, c := range r.clusters {
		switch {
		case !c.written:
			return fmt.Errorf("value %d was read, and never written there", c.value)
		case c.firstEnd < c.begin:
			return fmt.Errorf("value %d was read before it was written", c.value)
		case c.firstEnd < c.lastBegin:
			forward = append(forward, c)
		default:
			backward = append(backward, interval{c.lastBegin, c.firstEnd})
		}
	}
	sort.Slice(forward, func(i, j int) bool { return forward[i].firstEnd < forward[j].firstEnd })
	for i := 1; i < len(forward); i++ {
		if a, b := forward[i-1], forward[i]; b.firstEnd < a.lastBegin {
			return fmt.Errorf("value %d was there at %d and at %d, and value %d at %d: one of them came back", a.value, a.firstEnd, a.lastBegin, b.value, b.firstEnd)
		}
	}
	for _, b := range backward {
		i := sort.Search(len(forward), func(i int) bool { return forward[i].lastBegin > b.end })
		if i < len(forward) && forward[i].firstEnd < b.begin {
			return fmt.Errorf("value %d was there at %d and at %d, and another from %d to %d: a write was lost, or an old value came back",
				forward[i].value, forward[i].firstEnd, forward[i].lastBegin, b.begin, b.end)
		}
	}
	return r.checkZeroes()
}

// checkZeroes looks for what may have written the zeroes that were read: the
// beginning, or an operation that no complete write lies behind.
func (r *register) checkZeroes() error {
	for _, read := range r.zeroRead {
		var hidden int64 // what ended before cannot be seen
		for _, c := range r.clusters {
			if c.firstEnd < read.begin {
				hidden = max(hidden, c.begin)
			}
		}
		if hidden == 0 || slices.ContainsFunc(r.zeroing, func(z interval) bool { return z.begin < read.end && z.end > hidden }) {
			continue
		}
		return fmt.Errorf("a read from %d to %d saw zeroes: an acknowledged write was lost", read.begin, read.end)
	}
	return nil
}
