package ext4_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/crashtest"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
	"github.com/quintet-os/quintet/files/ext4/jbd2"
	"github.com/quintet-os/quintet/internal/testenv"
	"github.com/quintet-os/quintet/internal/unix"
)

// notLogged is what a fast commit does not say of a directory, and what replaying allocates
// itself: times and sizes of directories, blocks of maps.
var notLogged = regexp.MustCompile(`^(4\d+ \S+ \S+) size=\d+ mtime=\S+ ctime=\S+| blocks=\d+`)

func withoutUnlogged(tree ext4test.Tree) ext4test.Tree {
	out := ext4test.Tree{}
	for p, line := range tree {
		out[p] = notLogged.ReplaceAllString(line, "$1")
	}
	return out
}

// fastWriter does operations on a mount that fast commits can say.
type fastWriter struct {
	t     *testing.T
	dir   string
	rng   *rand.Rand
	files []string // may be gone
	dirs  []string
	n     int
}

func (w *fastWriter) fresh() string {
	w.n++
	return filepath.Join(w.dirs[w.rng.IntN(len(w.dirs))], fmt.Sprintf("%d%s", w.n, strings.Repeat("n", w.rng.IntN(100))))
}

func (w *fastWriter) step() {
	if len(w.files) == 0 {
		w.files = append(w.files, w.fresh())
	}
	p, at := w.files[w.rng.IntN(len(w.files))], func(p string) string { return filepath.Join(w.dir, p) }
	write := func(p string, flags int, off int64, n int) {
		if info, err := os.Lstat(at(p)); err == nil && !info.Mode().IsRegular() {
			return
		}
		f, err := os.OpenFile(at(p), flags|os.O_RDWR, 0o640)
		if err != nil {
			return
		}
		data := make([]byte, n)
		for k := range data {
			data[k] = byte(w.rng.Uint32()) | 1
		}
		_, err = f.WriteAt(data, off)
		must(w.t, err)
		must(w.t, f.Close())
	}
	switch w.rng.IntN(14) {
	case 0, 1, 2:
		p = w.fresh()
		write(p, os.O_CREATE|os.O_EXCL, int64(w.rng.IntN(3000)), 1+w.rng.IntN(40_000))
		w.files = append(w.files, p)
	case 3, 4:
		write(p, 0, int64(w.rng.IntN(200_000)), 1+w.rng.IntN(40_000))
	case 5:
		_ = os.Truncate(at(p), int64(w.rng.IntN(100_000)))
	case 6:
		to := w.fresh()
		if os.Link(at(p), at(to)) == nil {
			w.files = append(w.files, to)
		}
	case 7:
		_ = os.Remove(at(p))
	case 8:
		to := w.fresh()
		if w.rng.IntN(3) == 0 {
			to = w.files[w.rng.IntN(len(w.files))]
		}
		if os.Rename(at(p), at(to)) == nil {
			w.files = append(w.files, to)
		}
	case 9:
		to := w.fresh()
		if os.Mkdir(at(to), 0o750) == nil {
			w.dirs = append(w.dirs, to)
		}
	case 10:
		if d := w.dirs[w.rng.IntN(len(w.dirs))]; d != "." && os.Remove(at(d)) == nil {
			w.dirs = slices.DeleteFunc(w.dirs, func(e string) bool { return e == d })
		}
	case 11:
		to := w.fresh()
		switch w.rng.IntN(3) {
		case 0:
			must(w.t, os.Symlink(strings.Repeat("t", 1+w.rng.IntN(100)), at(to)))
		case 1:
			succeed(w.t, "mknod", at(to), "b", "8", "3")
		case 2:
			succeed(w.t, "mknod", at(to), "p")
		}
		w.files = append(w.files, to)
	case 12:
		_ = os.Chmod(at(p), os.FileMode(w.rng.IntN(0o777)))
		_ = os.Lchown(at(p), w.rng.IntN(5000), w.rng.IntN(70_000))
	case 13:
		if info, err := os.Lstat(at(p)); err == nil && info.Mode().IsRegular() {
			f, err := os.OpenFile(at(p), os.O_RDWR, 0)
			must(w.t, err)
			_ = unix.PunchHole(int(f.Fd()), w.rng.Int64N(50_000), 1+w.rng.Int64N(50_000))
			must(w.t, f.Close())
		}
	}
}

// syncAll makes what was done durable, file by file, without a full commit.
func (w *fastWriter) syncAll() {
	// Some change of a file must be there for an fsync to commit anything.
	must(w.t, os.WriteFile(filepath.Join(w.dir, "last"), []byte(fmt.Sprint(w.n, w.rng.Uint64())), 0o644))
	must(w.t, filepath.WalkDir(w.dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Sync()
	}))
}

// pendingFast reports whether an image holds fast commits that are in force.
func pendingFast(t *testing.T, path string) bool {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	f, log := journalOf(t, content)
	sb := f.Superblock()
	r, err := jbd2.Replay(&log, jbd2.ReplayOptions{Blocks: sb.BlocksCount})
	must(t, err)
	return r.Fast
}

// journalOf opens what an image holds, without replaying its journal.
func journalOf(t *testing.T, content []byte) (*ext4.FS, jbd2.Log) {
	t.Helper()
	v := image.NewMemory(int64(len(content)))
	must(t, v.Load(content))
	f, err := ext4.Open(v, ext4.Options{NoRecovery: true})
	must(t, err)
	log, err := f.Journal()
	must(t, err)
	return f, log
}

// fastVolumes is what fast commits are made on.
var fastVolumes = []struct {
	name string
	args []string
}{
	{"4k", []string{"-b", "4096"}},
	{"1k", []string{"-b", "1024"}},
	{"2k, no checksums", []string{"-b", "2048", "-O", "^metadata_csum,^64bit"}},
}

// TestFastCommitsOfTheKernel kills the kernel's file system after fsyncs, so to speak: an
// image is copied. What comes of its fast commits must be what it held, by reading and by
// writing, and sound.
func TestFastCommitsOfTheKernel(t *testing.T) {
	testenv.Unraced(t)
	testenv.Unraced(t)
	rounds := 5
	if os.Getenv("QUINTET_LONG") != "" {
		rounds = 200
	}
	for _, v := range fastVolumes {
		t.Run(v.name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			path := ext4test.Mkfs(t, 48<<20, append([]string{"-O", "fast_commit"}, v.args...)...)
			dir, unmount := ext4test.Mount(t, path, "")
			defer unmount()
			w := &fastWriter{t: t, dir: dir, rng: rand.New(rand.NewPCG(seed, 1)), dirs: []string{"."}}
			for k := range 2 { // open without a name, on the list of orphans
				held, err := os.Create(filepath.Join(dir, "held"))
				must(t, err)
				defer held.Close()
				_, err = held.Write(make([]byte, 30_000*(k+1)))
				must(t, err)
				must(t, os.Remove(held.Name()))
			}
			succeed(t, "sync", "-f", dir)
			fast := 0
			for round := range rounds {
				for range 1 + w.rng.IntN(12) {
					w.step()
				}
				w.syncAll()
				want := withoutUnlogged(ext4test.KernelTree(t, dir))
				died := copyOf(t, path)
				if pendingFast(t, died) {
					fast++
				}
				replaysTo(t, died, want)
				if t.Failed() {
					t.Fatalf("seed %d, round %d", seed, round)
				}
			}
			if t.Logf("%d of %d images had fast commits", fast, rounds); fast == 0 {
				t.Error("the kernel made no fast commits")
			}
		})
	}
}

// replaysTo compares what an image is recovered to.
func replaysTo(t *testing.T, path string, want ext4test.Tree) {
	t.Helper()
	before, err := os.ReadFile(path)
	must(t, err)
	v, err := image.Open(path, true)
	must(t, err)
	defer v.Close()
	f, err := ext4.Open(v, ext4.Options{ReadOnly: true})
	must(t, err)
	ext4test.Compare(t, withoutUnlogged(ext4test.Read(t, f)), want)
	must(t, f.Close())
	if r := checkPath(t, path); !r.Clean() {
		t.Errorf("before replaying: %d problems: %v", r.Count, r.Problems[:min(len(r.Problems), 5)])
	}
	after, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(before, after) {
		t.Error("reading has changed the volume")
	}
	f, err = ext4.Open(v, ext4.Options{})
	must(t, err)
	ext4test.Compare(t, withoutUnlogged(ext4test.Read(t, f)), want)
	a := &author{t, f, ext4.Op{Now: testNow, Privileged: true}}
	a.file(ext4.Root, "written afterwards", make([]byte, 50_000), 0)
	must(t, f.Unlink(a.next(), ext4.Root, "written afterwards"))
	must(t, f.Close())
	ext4test.Fsck(t, path)
}

// TestPowerLossWhileFastCommitsAreReplayed cuts the power at every write of it.
func TestPowerLossWhileFastCommitsAreReplayed(t *testing.T) {
	testenv.Unraced(t)
	_, _, samples, _ := sweepSize()
	path := ext4test.Mkfs(t, 16<<20, "-b", "1024", "-O", "fast_commit", "-J", "size=2")
	dir, unmount := ext4test.Mount(t, path, "")
	defer unmount()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := &fastWriter{t: t, dir: dir, rng: rand.New(rand.NewPCG(seed, 1)), dirs: []string{"."}}
	died := ""
	for n := 0; n < 50 && died == ""; n++ {
		for range 6 {
			w.step()
		}
		w.syncAll()
		if died = copyOf(t, path); !pendingFast(t, died) || n < 5 {
			died = ""
		}
	}
	if died == "" {
		t.Fatal("the kernel made no fast commits")
	}
	want := withoutUnlogged(ext4test.KernelTree(t, dir))
	content, err := os.ReadFile(died)
	must(t, err)
	recorder := crashtest.NewRecorder(crashtest.FromBytes(content))
	f, err := ext4.Open(recorder, ext4.Options{})
	must(t, err)
	must(t, f.Close())
	n, err := recorder.States(crashtest.Sweep{Seed: seed, Tear: 1024, Samples: samples * 3}, func(s crashtest.State) error {
		f, err := ext4.Open(s.Image, ext4.Options{})
		if err != nil {
			return err
		}
		if got := withoutUnlogged(ext4test.Read(t, f)); fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("recovered to\n%v\nwant\n%v", got, want)
		}
		if err := f.Close(); err != nil {
			return err
		}
		return crashCheck(s.Image)
	})
	must(t, err)
	t.Logf("%d crash states of %d writes", n, recorder.Writes())
}
