package server

import "github.com/quintet-os/quintet/storage"

const (
	guardBuckets    = 256 // a power of two
	guardBucketBits = 20  // the bucket of a range is its first MiB; a transfer touches at most two
)

// guard knows the unanswered ranges of a volume, and makes those that conflict
// with earlier ones wait. Most ranges are no longer than storage.TransferMax and
// lie in one list or two by position; longer ones lie in the list wide, and are
// compared with everybody.
type guard struct {
	buckets [guardBuckets][]*task
	wide    []*task
}

// conflict reports whether two requests must not be in flight together.
func conflict(a, b *storage.Request) bool {
	return (a.Op.Changes() || b.Op.Changes()) &&
		a.Offset < b.Offset+b.Length && b.Offset < a.Offset+a.Length
}

// span returns the first and last bucket of a request, and whether it is wide.
func span(r *storage.Request) (first, last int64, wide bool) {
	first, last = r.Offset>>guardBucketBits, (r.Offset+r.Length-1)>>guardBucketBits
	return first, last, last-first > 1
}

// add enters a ranged task, and counts in it the earlier ones it must wait for.
func (g *guard) add(t *task) {
	first, last, wide := span(&t.request)
	g.wait(t, g.wide)
	if wide {
		for b := range g.buckets {
			g.wait(t, g.buckets[b])
		}
		g.wide = append(g.wide, t)
		return
	}
	for at := first; at <= last; at++ {
		list := &g.buckets[at&(guardBuckets-1)]
		g.wait(t, *list)
		*list = append(*list, t)
	}
}

// wait makes t wait for those in list that it conflicts with. A task that lies
// in two buckets is met twice, and counted once.
func (g *guard) wait(t *task, list []*task) {
	for _, earlier := range list {
		if !conflict(&earlier.request, &t.request) {
			continue
		}
		if n := len(earlier.dependents); n > 0 && earlier.dependents[n-1] == t {
			continue
		}
		earlier.dependents = append(earlier.dependents, t)
		t.blockers++
	}
}

// remove takes a task out, and calls free with each that waits for nothing more.
func (g *guard) remove(t *task, free func(*task)) {
	first, last, wide := span(&t.request)
	if wide {
		g.wide = without(g.wide, t)
	} else {
		for at := first; at <= last; at++ {
			list := &g.buckets[at&(guardBuckets-1)]
			*list = without(*list, t)
		}
	}
	for _, later := range t.dependents {
		if later.blockers--; later.blockers == 0 {
			free(later)
		}
	}
	clear(t.dependents)
	t.dependents = t.dependents[:0]
}

// without removes t from a list whose order does not matter.
func without(list []*task, t *task) []*task {
	for i, other := range list {
		if other == t {
			last := len(list) - 1
			list[i], list[last] = list[last], nil
			return list[:last]
		}
	}
	return list
}
