package ext4_test

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unique"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/crashtest"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/storage"
)

// crashChunk is the piece of a file whose content is compared at once: no
// larger than what the device writes whole.
const crashChunk = 1024

// crashFile is all that can be seen of an inode.
type crashFile struct {
	attr   string // kind, permissions, links, size, owner
	more   string // target, extended attributes
	ino    uint32
	chunks []unique.Handle[string] // the content; the last may be shorter
}

// has reports whether the file's block holds this at chunk c, its own length
// aside: what it is too short for reads as zero.
func (f *crashFile) has(c int, content string) bool {
	own := ""
	if c < len(f.chunks) {
		own = f.chunks[c].Value()
	}
	if len(own) >= len(content) {
		return own[:len(content)] == content
	}
	return own == content[:len(own)] && strings.Trim(content[len(own):], "\x00") == ""
}

// crashTree is a file system at one moment, by path.
type crashTree map[string]crashFile

// crashSnapshot reads the whole file system.
func crashSnapshot(f *ext4.FS) (crashTree, error) {
	tree := crashTree{}
	var walk func(path string, ino uint32) error
	walk = func(path string, ino uint32) error {
		a, err := f.Stat(ino)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		file := crashFile{ino: ino, attr: fmt.Sprintf("mode %o links %d size %d owner %d:%d", a.Mode, a.Links, a.Size, a.UID, a.GID)}
		names, err := f.Xattrs(ino)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		slices.Sort(names)
		for _, name := range names {
			v, err := f.Xattr(ino, name)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			file.more += fmt.Sprintf("%s=%s;", name, v)
		}
		switch mode := a.FileMode(); {
		case mode.IsDir():
			var entries []ext4.DirEntry
			if err := f.ReadDir(ino, 0, func(e ext4.DirEntry) bool {
				if e.Name != "." && e.Name != ".." {
					entries = append(entries, e)
				}
				return true
			}); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			for _, e := range entries {
				if found, err := f.Lookup(ino, e.Name); err != nil || found != e.Ino {
					return fmt.Errorf("%s/%s is listed as inode %d and looked up as %d: %w", path, e.Name, e.Ino, found, err)
				}
				if err := walk(path+"/"+e.Name, e.Ino); err != nil {
					return err
				}
			}
			// The size of a directory's file is a matter of history.
			file.attr = fmt.Sprintf("mode %o links %d", a.Mode, a.Links)
		case mode.IsRegular():
			if file.chunks, err = crashContent(f, ino, a.Size); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		default:
			if file.more, err = f.Readlink(ino); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
		tree[path] = file
		return nil
	}
	return tree, walk("", ext4.Root)
}

func crashContent(f *ext4.FS, ino uint32, size uint64) (chunks []unique.Handle[string], err error) {
	p := make([]byte, size)
	if n, err := f.ReadAt(ino, p, 0); err != nil && err != io.EOF || uint64(n) != size {
		return nil, fmt.Errorf("read %d of %d bytes: %w", n, size, err)
	}
	for chunk := range slices.Chunk(p, crashChunk) {
		chunks = append(chunks, unique.Make(string(chunk)))
	}
	return chunks, nil
}

func (t crashTree) inodes() map[uint32]crashFile {
	byNumber := make(map[uint32]crashFile, len(t))
	for _, file := range t {
		byNumber[file.ino] = file
	}
	return byNumber
}

// crashDiff tells what distinguishes the names of two trees, a few lines of it.
func crashDiff(got, want string) string {
	var b strings.Builder
	a, c := strings.Split(got, "\n"), strings.Split(want, "\n")
	for _, line := range a {
		if !slices.Contains(c, line) {
			fmt.Fprintf(&b, "  has   %.100s\n", line)
		}
	}
	for _, line := range c {
		if !slices.Contains(a, line) {
			fmt.Fprintf(&b, "  lacks %.100s\n", line)
		}
	}
	return b.String()
}

// names is the tree without its content: what one transaction changes whole.
func (t crashTree) names() string {
	var b strings.Builder
	for _, path := range slices.Sorted(maps.Keys(t)) {
		fmt.Fprintf(&b, "%s inode %d: %s, %s\n", path, t[path].ino, t[path].attr, t[path].more)
	}
	return b.String()
}

// crashRun is a sequence of operations, the tree after each.
type crashRun struct {
	t        testing.TB
	rng      *rand.Rand
	f        *ext4.FS
	recorder *crashtest.Recorder
	now      time.Time
	trees    []crashTree
	names    []string
	touched  map[uint32]int // operation that last changed what is seen of an inode
	held     []uint32
	nameless [][]crashFile // after each operation, the files held beyond their last name
	owners   bool          // operations are of many users
	syncing  int           // of 24 random operations so many are followed by a sync
	log      []string
}

// crashMark is a promise: operations up to this one are durable. Or, with
// began, that an operation began, whose data may be there.
type crashMark struct {
	promised int
	began    int
}

func newCrashRun(t testing.TB, seed uint64, size int64, o ext4.FormatOptions, cache int64) *crashRun {
	image := crashtest.NewImage(size)
	o.Now, o.Zeroed, o.JournalBlocks = testNow, true, 1024
	o.UUID[0], o.HashSeed[0] = 1, 1
	if err := ext4.Format(image, o); err != nil {
		t.Fatal(err)
	}
	return newCrashRunOf(t, seed, image, cache)
}

// newCrashRunOf begins with an empty file system.
func newCrashRunOf(t testing.TB, seed uint64, image *crashtest.Image, cache int64) *crashRun {
	r := &crashRun{t: t, rng: rand.New(rand.NewPCG(seed, 1)), now: testNow, touched: map[uint32]int{}}
	r.recorder = crashtest.NewRecorder(image)
	f, err := ext4.Open(r.recorder, ext4.Options{CacheBytes: cache, Now: func() time.Time { return r.now }})
	if err != nil {
		t.Fatal(err)
	}
	r.f = f
	r.record("mkfs")
	r.recorder.Mark(crashMark{promised: 0})
	return r
}

func (r *crashRun) op() *ext4.Op {
	r.now = r.now.Add(time.Second)
	op := &ext4.Op{Now: r.now, UID: 1000, GID: 1000, Privileged: true}
	if r.owners {
		op.UID, op.GID = quotaID(r.rng), quotaID(r.rng)
	}
	return op
}

// record notes the tree after an operation.
func (r *crashRun) record(what string) {
	r.t.Helper()
	tree, err := crashSnapshot(r.f)
	if err != nil {
		r.t.Fatalf("after %s: %v", what, err)
	}
	if len(r.trees) > 0 {
		before := r.trees[len(r.trees)-1].inodes()
		for ino, file := range tree.inodes() {
			if old := before[ino]; old.attr != file.attr || old.more != file.more || !slices.Equal(old.chunks, file.chunks) {
				r.touched[ino] = len(r.trees)
			}
		}
	}
	r.nameless = append(r.nameless, r.beyondNames(tree))
	r.trees = append(r.trees, tree)
	r.names = append(r.names, tree.names())
	r.log = append(r.log, what)
}

// beyondNames reads the files that are held and that no name leads to. A crash before
// their last name has gone shows what was written to them meanwhile, in place.
func (r *crashRun) beyondNames(tree crashTree) (files []crashFile) {
	r.t.Helper()
	named := tree.inodes()
	for _, ino := range r.held {
		if _, ok := named[ino]; ok {
			continue
		}
		a, err := r.f.Stat(ino)
		if err != nil {
			r.t.Fatal(err)
		}
		file := crashFile{ino: ino}
		if a.FileMode().IsRegular() {
			if file.chunks, err = crashContent(r.f, ino, a.Size); err != nil {
				r.t.Fatalf("inode %d: %v", ino, err)
			}
		}
		files = append(files, file)
	}
	return files
}

// do runs an operation that may be refused, and notes the tree after it.
func (r *crashRun) do(what string, f func() error) {
	r.t.Helper()
	r.recorder.Mark(crashMark{promised: -1, began: len(r.trees)})
	if err := f(); err != nil {
		if ext4.KindOf(err) == 0 {
			r.t.Fatalf("%s: %v", what, err)
		}
		what += fmt.Sprintf(" (%v)", ext4.KindOf(err))
	}
	r.record(what)
}

func (r *crashRun) sync() {
	if err := r.f.Sync(); err != nil {
		r.t.Fatal(err)
	}
	r.recorder.Mark(crashMark{promised: len(r.trees) - 1})
}

func (r *crashRun) fsync(ino uint32) {
	if err := r.f.Fsync(ino); err != nil {
		r.t.Fatal(err)
	}
	r.recorder.Mark(crashMark{promised: r.touched[ino]})
}

// recover opens an image, reads all of it, and closes it.
func (r *crashRun) recover(m storage.Volume) (crashTree, error) {
	f, err := ext4.Open(m, ext4.Options{CacheBytes: 1 << 20, Now: func() time.Time { return r.now }})
	if err != nil {
		return nil, fmt.Errorf("recovery: %w", err)
	}
	tree, err := crashSnapshot(f)
	if err != nil {
		return nil, fmt.Errorf("after recovery: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("closing after recovery: %w", err)
	}
	return tree, nil
}

// crashCheck has our own checker look at an image.
func crashCheck(m *crashtest.Image) error {
	report, err := ext4.Check(m)
	if err == nil && !report.Clean() {
		err = fmt.Errorf("check found: %s", strings.Join(report.Problems[:min(5, len(report.Problems))], "; "))
	}
	return err
}

// check requires of a crash state, after recovery, that its names are those of
// one moment no earlier than the last promise, and its data of that moment or
// of what was being written over it.
func (r *crashRun) check(s crashtest.State) error {
	promised, began := 0, 0
	for _, m := range s.Marks {
		promised = max(promised, m.(crashMark).promised)
		began = max(began, m.(crashMark).began)
	}
	if err := crashCheck(s.Image); err != nil {
		return fmt.Errorf("before recovery: %w", err)
	}
	tree, err := r.recover(s.Image)
	if err != nil {
		return err
	}
	if err := crashCheck(s.Image); err != nil {
		return fmt.Errorf("after recovery: %w", err)
	}
	names := tree.names()
	last := min(began, len(r.trees)-1)
	for k := last; k >= promised; k-- {
		if r.names[k] == names {
			if err = r.checkData(tree, k, last); err == nil {
				return nil
			}
		}
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("names are of no moment between operation %d (%s) and %d (%s)\nbeside the first it\n%sbeside the last it\n%s",
		promised, r.log[promised], last, r.log[last], crashDiff(names, r.names[promised]), crashDiff(names, r.names[last]))
}

func (r *crashRun) checkData(tree crashTree, k, last int) error {
	later := map[uint32][]crashFile{}
	for i := k; i <= last; i++ {
		for _, file := range r.trees[i] {
			later[file.ino] = append(later[file.ino], file)
		}
		for _, file := range r.nameless[i] {
			later[file.ino] = append(later[file.ino], file)
		}
	}
	for path, file := range tree {
		for c, chunk := range file.chunks {
			if chunk == r.trees[k][path].chunks[c] || slices.ContainsFunc(later[file.ino], func(l crashFile) bool {
				return l.has(c, chunk.Value())
			}) {
				continue
			}
			return fmt.Errorf("%s (inode %d), names as after operation %d (%s): chunk %d of %d holds what it never did",
				path, file.ino, k, r.log[k], c, len(file.chunks))
		}
	}
	return nil
}

// fsckState has e2fsck recover a state: there must be nothing to repair.
func fsckState(t testing.TB, path string, m *crashtest.Image) error {
	if err := m.WriteFile(path); err != nil {
		return err
	}
	// That an extent tree could be narrower is an opinion, not damage.
	out, code := ext4test.Run(t, "e2fsck", "-fy", "-E", "no_optimize_extents", path)
	if code > 1 || strings.Contains(out, "? yes") {
		return fmt.Errorf("e2fsck: exit code %d\n%s", code, out)
	}
	return nil
}

// fsckAfterEvery is how many states have one that e2fsck looks at after our own
// recovery too, at most.
const fsckAfterEvery = 10

// sweep looks at crash states of the run; every n-th is recovered by e2fsck as
// well.
func (r *crashRun) sweep(s crashtest.Sweep, fsckEvery int) (states int) {
	r.t.Helper()
	free := make(chan string, 64)
	for i := range cap(free) {
		free <- filepath.Join(r.t.TempDir(), fmt.Sprint("image", i))
	}
	n := 0
	turn := make(chan bool, 1)
	turn <- true
	checked, err := r.recorder.States(s, func(state crashtest.State) error {
		<-turn
		n++
		fsck, after := n%fsckEvery == 0, n%max(fsckEvery, fsckAfterEvery) == 0
		turn <- true
		if !fsck {
			return r.check(state)
		}
		path := <-free
		defer func() { free <- path }()
		if err := fsckState(r.t, path, state.Image); err != nil {
			return err
		}
		if err := r.check(state); err != nil || !after {
			return err
		}
		if err := fsckState(r.t, path, state.Image); err != nil {
			return fmt.Errorf("after our recovery: %w", err)
		}
		return nil
	})
	if err != nil {
		r.t.Fatalf("%v\noperations:\n%s", err, strings.Join(r.log[max(0, len(r.log)-200):], "\n"))
	}
	return checked
}
