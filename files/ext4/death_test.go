package ext4_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/crashtest"
	"github.com/quintet-os/quintet/storage"
)

// deathOp is one operation of a run that dies.
type deathOp struct {
	what    string
	op      ext4.Op
	do      func(f *ext4.FS, op *ext4.Op) error
	result  error
	release uint32 // the inode it releases
}

// deathMark is what a process that may die keeps: that an operation began, what it has
// decided, and that it has returned.
type deathMark struct {
	op       int
	decision *ext4.Decision // nil: nothing yet
	ended    bool
}

// kept copies what is to be kept of a decision.
func kept(d *ext4.Decision) *ext4.Decision {
	return &ext4.Decision{Parts: slices.Clone(d.Parts), Done: d.Done, Held: d.Held, Ino: d.Ino, Generation: d.Generation,
		Blocks: slices.Clone(d.Blocks), Metadata: slices.Clone(d.Metadata)}
}

// deathTree is a file system at one moment: a line of all that is seen of each file, and
// what of it depends on where its blocks happened to be.
type deathTree struct{ lines, blocks map[string]string }

func (t deathTree) diff(o deathTree, blocks bool) error {
	var list []error
	compare := func(got, want map[string]string) {
		for path := range want {
			if got[path] != want[path] {
				list = append(list, fmt.Errorf("%s:\n is     %s\n was    %s", path, got[path], want[path]))
			}
		}
		for path := range got {
			if _, ok := want[path]; !ok {
				list = append(list, fmt.Errorf("%s is too much", path))
			}
		}
	}
	compare(t.lines, o.lines)
	if blocks {
		compare(t.blocks, o.blocks)
	}
	return errors.Join(list[:min(5, len(list))]...)
}

// deathSnapshot reads all files, and those that are held without a name.
func deathSnapshot(f *ext4.FS, held []uint32) (deathTree, error) {
	tree := deathTree{map[string]string{}, map[string]string{}}
	files, err := crashSnapshot(f)
	if err != nil {
		return tree, err
	}
	named := files.inodes()
	for _, ino := range held {
		if _, ok := named[ino]; !ok {
			a, err := f.Stat(ino)
			if err != nil {
				return tree, err
			}
			file := crashFile{ino: ino, attr: fmt.Sprintf("nameless, size %d", a.Size)}
			if file.chunks, err = crashContent(f, ino, a.Size); err != nil {
				return tree, err
			}
			files[fmt.Sprint("inode ", ino)] = file
		}
	}
	for path, file := range files {
		a, err := f.Stat(file.ino)
		if err != nil {
			return tree, err
		}
		content := sha256.New()
		for _, c := range file.chunks {
			content.Write([]byte(c.Value()))
		}
		var segments []ext4.Segment
		if a.FileMode().IsRegular() {
			if segments, err = f.Segments(file.ino, 0, 1<<40, 10_000); err != nil {
				return tree, err
			}
		}
		tree.lines[path] = fmt.Sprintf("inode %d: %s, %s, from %v and %v, %.6x", file.ino, file.attr, file.more, a.Mtime.UnixNano(), a.Ctime.UnixNano(), content.Sum(nil))
		tree.blocks[path] = fmt.Sprintf("%d sectors, %v", a.Blocks, segments)
	}
	return tree, nil
}

// deathRun is a sequence of operations of a process that dies, with the tree and what is
// held after each.
type deathRun struct {
	t        *testing.T
	rng      *rand.Rand
	f        *ext4.FS
	recorder *crashtest.Recorder
	model    map[uint32][]byte // contents, by inode
	syncing  int               // of so many parts of operations one is followed by a sync
	now      time.Time
	ops      []deathOp
	trees    []deathTree // the first is that before the first operation
	held     [][]uint32

	partly, resumed atomic.Int64 // operations applied again of which some had committed; that had not ended
}

func newDeathRun(t *testing.T, seed uint64, image *crashtest.Image) *deathRun {
	r := &deathRun{t: t, rng: rand.New(rand.NewPCG(seed, 2)), now: testNow, syncing: 3, model: map[uint32][]byte{}, held: [][]uint32{nil}}
	r.recorder = crashtest.NewRecorder(image)
	f, err := ext4.Open(r.recorder, ext4.Options{CacheBytes: 1 << 20, Now: func() time.Time { return testNow }})
	if err != nil {
		t.Fatal(err)
	}
	r.f = f
	tree, err := deathSnapshot(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.trees = []deathTree{tree}
	return r
}

// do carries out an operation, and keeps what it decides.
func (r *deathRun) do(what string, do func(f *ext4.FS, op *ext4.Op) error) error {
	return r.keep(deathOp{what: what, do: do}, r.held[len(r.held)-1])
}

// keep carries out an operation after which so many inodes are held.
func (r *deathRun) keep(o deathOp, held []uint32) error {
	r.t.Helper()
	n := len(r.ops)
	r.now = r.now.Add(time.Second)
	o.op = ext4.Op{Now: r.now, UID: 1000, GID: 1000}
	op := o.op
	op.Decision = &ext4.Decision{}
	var syncing sync.WaitGroup
	op.Record = func(d *ext4.Decision) {
		r.recorder.Mark(deathMark{n, kept(d), false})
		if r.rng.IntN(r.syncing) == 0 { // by somebody else, so that the next part is of another transaction
			syncing.Go(func() {
				if err := r.f.Sync(); err != nil {
					r.t.Error(err)
				}
			})
			runtime.Gosched()
		}
	}
	r.recorder.Mark(deathMark{op: n})
	o.result = o.do(r.f, &op)
	r.recorder.Mark(deathMark{n, kept(op.Decision), true})
	if o.result != nil && ext4.KindOf(o.result) == 0 {
		r.t.Fatalf("%s: %v", o.what, o.result)
	}
	r.ops = append(r.ops, o)
	tree, err := deathSnapshot(r.f, held)
	if err != nil {
		r.t.Fatalf("after %s: %v", o.what, err)
	}
	r.trees, r.held = append(r.trees, tree), append(r.held, held)
	syncing.Wait()
	return o.result
}

// recover does what a successor does with what it finds: m and the marks.
func (r *deathRun) recover(m storage.Volume, marks map[int]deathMark, keep func(deathMark)) error {
	f, err := ext4.Open(m, ext4.Options{CacheBytes: 1 << 20, KeepOrphans: true, Now: func() time.Time { return testNow }})
	if err != nil {
		return fmt.Errorf("recovery: %w", err)
	}
	// The last operation may not have returned; those before it have.
	last, anew := len(marks)-1, -1
	pending := map[int]*ext4.Decision{}
	for _, k := range slices.Sorted(maps.Keys(marks)) {
		mark := marks[k]
		if mark.decision == nil {
			anew = k
			continue
		}
		d := kept(mark.decision)
		again, err := f.Expect(d, mark.ended)
		if err != nil {
			return fmt.Errorf("operation %d (%s): %w", k, r.ops[k].what, err)
		}
		keep(deathMark{k, kept(d), mark.ended})
		if again {
			pending[k] = d
			if mark.ended && len(d.Parts) > 0 {
				r.partly.Add(1)
			}
			if !mark.ended {
				r.resumed.Add(1)
			}
		}
	}
	apply := func(k int, d *ext4.Decision) error {
		o := &r.ops[k]
		op := o.op
		op.Decision, op.Replay = &ext4.Decision{}, d != nil
		if d != nil {
			op.Decision = d
		}
		ended := marks[k].ended
		op.Record = func(d *ext4.Decision) { keep(deathMark{k, kept(d), ended}) }
		err := o.do(f, &op)
		keep(deathMark{k, kept(op.Decision), true})
		if ext4.KindOf(err) != ext4.KindOf(o.result) || err != nil && ext4.KindOf(err) == 0 {
			return fmt.Errorf("operation %d (%s, ended %v): %v, before: %v", k, o.what, ended, err, o.result)
		}
		return nil
	}
	for _, k := range slices.Sorted(maps.Keys(pending)) {
		if !marks[k].ended {
			continue
		}
		if ino := r.ops[k].release; ino != 0 {
			if err := f.Hold(ino); err != nil {
				return fmt.Errorf("operation %d (%s): %w", k, r.ops[k].what, err)
			}
		}
		if err := apply(k, pending[k]); err != nil {
			return err
		}
	}
	whole := last < 0 || marks[last].ended
	ended := last
	if !whole {
		ended--
	}
	for _, ino := range r.held[ended+1] {
		if err := f.Hold(ino); err != nil {
			return fmt.Errorf("inode %d was held: %w", ino, err)
		}
	}
	if d := pending[last]; !whole && d != nil {
		err = apply(last, d)
	} else if anew >= 0 {
		err = apply(anew, nil)
	}
	if err != nil {
		return err
	}
	tree, err := deathSnapshot(f, r.held[last+1])
	if err == nil {
		err = tree.diff(r.trees[last+1], whole)
	}
	if err != nil {
		return fmt.Errorf("after all operations up to %d: %w", last, err)
	}
	for _, ino := range f.Orphans() {
		if !slices.Contains(r.held[last+1], ino) {
			return fmt.Errorf("inode %d is left without a name, and nobody holds it", ino)
		}
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("closing after recovery: %w", err)
	}
	return nil
}

// found gathers what a process had kept when it died, on top of what it found itself.
func found(before map[int]deathMark, marks []any) map[int]deathMark {
	all := map[int]deathMark{}
	maps.Copy(all, before)
	for _, m := range marks {
		all[m.(deathMark).op] = m.(deathMark)
	}
	return all
}
