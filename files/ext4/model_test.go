package ext4_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/storage"
)

// node is an inode of the model: what a file system is, told with maps and
// slices.
type node struct {
	ino    uint32
	dir    map[string]*node // nil: not a directory
	up     *node
	data   []byte
	target string
	xattrs map[string]string
	links  int
	held   bool
}

// model plays one sequence of operations on the file system and on maps, and
// compares each result.
type model struct {
	t      testing.TB
	rng    *rand.Rand
	f      *ext4.FS
	volume storage.Volume
	root   *node
	open   []*node // held without a name, perhaps
	clock  time.Time
	log    []string
	long   bool // names long enough to split directories soon
	// mapped: files have no extents, so that blocks cannot be allocated beforehand.
	mapped bool
}

func newModel(t testing.TB, seed uint64, size int64, o ext4.FormatOptions) *model {
	return newModelOn(t, seed, image.NewMemory(size), o)
}

func newModelOn(t testing.TB, seed uint64, v storage.Volume, o ext4.FormatOptions) *model {
	o.Now, o.Zeroed = testNow, true
	o.UUID[0], o.HashSeed[0] = 1, 1
	if err := ext4.Format(v, o); err != nil {
		t.Fatal(err)
	}
	return newModelOf(t, seed, v)
}

// newModelOf begins with an empty file system.
func newModelOf(t testing.TB, seed uint64, v storage.Volume) *model {
	m := &model{t: t, rng: rand.New(rand.NewPCG(seed, 1)), volume: v, clock: testNow}
	m.mount()
	m.root = &node{ino: ext4.Root, dir: map[string]*node{}, links: 3}
	m.root.dir["lost+found"] = &node{ino: 11, dir: map[string]*node{}, links: 2, up: m.root}
	return m
}

func (m *model) mount() {
	f, err := ext4.Open(m.volume, ext4.Options{CacheBytes: 1 << 20, Now: func() time.Time { return m.clock }})
	if err != nil {
		m.fail("open: %v", err)
	}
	m.f = f
}

// failure is how a model gives up, so that the sequence can be made shorter.
type failure string

func (m *model) fail(format string, args ...any) {
	last := m.log[max(0, len(m.log)-12):]
	panic(failure(fmt.Sprintf("%s\nlast of %d operations:\n%s", fmt.Sprintf(format, args...), len(m.log), strings.Join(last, "\n"))))
}

func (m *model) op() *ext4.Op {
	m.clock = m.clock.Add(time.Duration(m.rng.IntN(1e7)))
	return &ext4.Op{Now: m.clock, UID: 1000, GID: 1000, Privileged: true}
}

// pick returns a random directory, and a random name in it if wanted.
func (m *model) pick() (*node, string) {
	d := m.root
	for m.rng.IntN(3) > 0 {
		var sub []string
		for n, c := range d.dir {
			if c.dir != nil {
				sub = append(sub, n)
			}
		}
		if len(sub) == 0 {
			break
		}
		sort.Strings(sub)
		d = d.dir[sub[m.rng.IntN(len(sub))]]
	}
	return d, m.name(d)
}

func (m *model) name(d *node) string {
	if len(d.dir) > 0 && m.rng.IntN(3) > 0 {
		names := make([]string, 0, len(d.dir))
		for n := range d.dir {
			if n != "lost+found" {
				names = append(names, n)
			}
		}
		if len(names) > 0 {
			sort.Strings(names)
			return names[m.rng.IntN(len(names))]
		}
	}
	n := fmt.Sprintf("n%d", m.rng.IntN(400))
	if m.long {
		n += strings.Repeat("x", m.rng.IntN(240))
	}
	return n
}

// expect compares an error with what the model says must happen.
func (m *model) expect(err error, want ext4.Kind) bool {
	m.t.Helper()
	if k := ext4.KindOf(err); k != want || err != nil && k == 0 {
		m.fail("error %v, the model says %v", err, want)
	}
	return err == nil
}

func (m *model) step() {
	kinds := []func(){m.create, m.create, m.mkdir, m.symlink, m.link, m.unlink, m.rmdir, m.rename, m.rename,
		m.write, m.write, m.write, m.truncate, m.fallocate, m.xattr, m.read, m.look, m.look, m.hold, m.release, m.sync}
	kinds[m.rng.IntN(len(kinds))]()
}

// remount closes and opens the file system; what is held without a name goes.
func (m *model) remount() {
	m.logf("remount")
	for _, n := range m.open {
		n.held = false
	}
	m.open = nil
	m.expect(m.f.Close(), 0)
	m.mount()
}

// compare walks both trees.
func (m *model) compare() {
	m.t.Helper()
	var walk func(path string, n *node)
	walk = func(path string, n *node) {
		a, err := m.f.Stat(n.ino)
		if err != nil {
			m.fail("stat %s: %v", path, err)
		}
		if int(a.Links) != n.links {
			m.fail("%s (inode %d) has %d links, the model says %d", path, n.ino, a.Links, n.links)
		}
		keys, err := m.f.Xattrs(n.ino)
		if err != nil || len(keys) != len(n.xattrs) {
			m.fail("%s has attributes %v, %v; the model has %d", path, keys, err, len(n.xattrs))
		}
		for _, k := range keys {
			if v, err := m.f.Xattr(n.ino, k); err != nil || string(v) != n.xattrs[k] {
				m.fail("%s attribute %s: %d bytes, %v", path, k, len(v), err)
			}
		}
		switch {
		case n.dir != nil:
			m.compareDir(path, n)
			for name, c := range n.dir {
				walk(filepath.Join(path, name), c)
			}
		case n.target != "":
			if s, err := m.f.Readlink(n.ino); err != nil || s != n.target {
				m.fail("%s leads to %q, %v", path, s, err)
			}
		default:
			p := make([]byte, len(n.data)+1)
			got, err := m.f.ReadAt(n.ino, p, 0)
			if err != io.EOF || !bytes.Equal(p[:got], n.data) {
				m.fail("%s (inode %d) has %d bytes (%v), other than the model's %d", path, n.ino, got, err, len(n.data))
			}
		}
	}
	walk("/", m.root)
}

func (m *model) compareDir(path string, n *node) {
	seen := map[string]bool{}
	cookie := uint64(0)
	for more := true; more; { // in pieces, so that cookies are used
		more = false
		left := 1 + m.rng.IntN(50)
		err := m.f.ReadDir(n.ino, cookie, func(e ext4.DirEntry) bool {
			if left == 0 {
				more = true
				return false
			}
			left--
			cookie = e.Cookie
			if e.Name == "." || e.Name == ".." {
				return true
			}
			c := n.dir[e.Name]
			if c == nil || c.ino != e.Ino || seen[e.Name] || (e.Type == disk.TypeDir) != (c.dir != nil) {
				m.fail("%s lists %s as inode %d", path, e.Name, e.Ino)
			}
			seen[e.Name] = true
			return true
		})
		if err != nil {
			m.fail("readdir %s: %v", path, err)
		}
	}
	if len(seen) != len(n.dir) {
		m.fail("%s lists %d entries, the model has %d", path, len(seen), len(n.dir))
	}
}

// writeImage copies a volume to a file for e2fsck.
func writeImage(t testing.TB, v storage.Volume) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	f, err := image.Create(path, v.Size())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const chunk = 1 << 20
	p, zero := make([]byte, chunk), make([]byte, chunk)
	for off := int64(0); off < v.Size(); off += chunk {
		n := min(chunk, v.Size()-off)
		if _, err := v.ReadAt(p[:n], off); err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(p[:n], zero[:n]) {
			continue
		}
		if _, err := f.WriteAt(p[:n], off); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// check ends a sequence: e2fsck must find nothing to say.
func (m *model) check() {
	m.t.Helper()
	m.compare()
	m.remount()
	m.compare()
	m.expect(m.f.Close(), 0)
	r, err := ext4.Check(m.volume)
	if err != nil || !r.Clean() {
		m.fail("check: %v %+v", err, r)
	}
	path := writeImage(m.t, m.volume)
	defer func() {
		if m.t.Failed() {
			m.t.Logf("last operations:\n%s", strings.Join(m.log[max(0, len(m.log)-30):], "\n"))
		}
	}()
	ext4test.Fsck(m.t, path)
}

// play runs the given steps of a sequence and returns what went wrong. What a
// step does depends on its number and on what it finds.
func play(start func() *model, seed uint64, steps []int) (wrong string) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			wrong = string(r)
		default:
			panic(r)
		}
	}()
	m := start()
	for _, k := range steps {
		m.rng = rand.New(rand.NewPCG(seed, uint64(k)))
		m.step()
		if k%500 == 250 {
			m.remount()
		}
	}
	m.check()
	return ""
}

// reduce leaves out steps, in ever smaller pieces, as long as something still
// goes wrong.
func reduce(steps []int, wrong func([]int) bool) []int {
	for piece := len(steps) / 2; piece > 0; {
		shorter := false
		for at := 0; at+piece <= len(steps); {
			without := append(slices.Clone(steps[:at]), steps[at+piece:]...)
			if wrong(without) {
				steps, shorter = without, true
			} else {
				at += piece
			}
		}
		if !shorter {
			piece /= 2
		}
	}
	return steps
}

func TestRandomOperationsMatchTheModel(t *testing.T) {
	testenv.Unraced(t)
	for _, c := range []struct {
		name string
		size int64
		long bool
		o    ext4.FormatOptions
	}{
		{"4k", 64 << 20, false, ext4.FormatOptions{}},
		{"1k, long names", 64 << 20, true, ext4.FormatOptions{BlockSize: 1024}},
		{"nearly full", 12 << 20, true, ext4.FormatOptions{BlockSize: 1024}},
	} {
		t.Run(c.name, func(t *testing.T) {
			rounds := 20
			if testing.Short() {
				rounds = 4
			}
			for range rounds {
				seed := rand.Uint64()
				t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
					playAndReduce(t, seed, func() *model {
						m := newModel(t, seed, c.size, c.o)
						m.long = c.long
						return m
					})
				})
			}
		})
	}
}

// playAndReduce plays a sequence, and if something goes wrong finds out how few
// of its steps are enough.
func playAndReduce(t *testing.T, seed uint64, start func() *model) {
	t.Helper()
	steps := make([]int, 1500)
	for k := range steps {
		steps[k] = k
	}
	run := func(steps []int) string { return play(start, seed, steps) }
	if wrong := run(steps); wrong != "" {
		t.Log(wrong)
		steps = reduce(steps, func(s []int) bool { return run(s) != "" })
		t.Fatalf("%d steps are enough:\n%s", len(steps), run(steps))
	}
}
