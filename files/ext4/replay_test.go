package ext4_test

import (
	"fmt"
	"os"
	"reflect"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
)

// logged is an operation in an operation log: what was asked, and decided.
type logged struct {
	op ext4.Op
	do func(f *ext4.FS, op *ext4.Op) error
}

// expect prepares for an operation that had ended to be applied again, and tells whether it is.
func (l *logged) expect(t testing.TB, f *ext4.FS) bool {
	t.Helper()
	pending, err := f.Expect(l.op.Decision, true)
	if err != nil {
		t.Fatal(err)
	}
	return pending
}

func (l *logged) replay(f *ext4.FS) error {
	op := l.op
	op.Replay = true
	return l.do(f, &op)
}

// TestOperationsReplayOntoTheSameBlocks re-applies a log to the state before
// it, as a file server does after the death of its predecessor: the same
// inodes, blocks and times must come of it, without the data being written.
func TestOperationsReplayOntoTheSameBlocks(t *testing.T) {
	before := image.NewMemory(32 << 20)
	if err := ext4.Format(before, ext4.FormatOptions{BlockSize: 1024, Now: testNow, Zeroed: true}); err != nil {
		t.Fatal(err)
	}
	t.Run("extents", func(t *testing.T) { replayOperations(t, before, true) })
	for name, args := range map[string][]string{"without extents": ext3, "quotas": {"-O", "quota,project"}} {
		t.Run(name, func(t *testing.T) {
			before := image.NewMemory(32 << 20)
			content, err := os.ReadFile(ext4test.Mkfs(t, 32<<20, append(args, "-b", "1024")...))
			if err == nil {
				err = before.Load(content)
			}
			if err != nil {
				t.Fatal(err)
			}
			replayOperations(t, before, name == "quotas")
		})
	}
}

func replayOperations(t *testing.T, before *image.Memory, extents bool) {
	volume := before.Clone()
	open := func(v *image.Memory) *ext4.FS {
		f, err := ext4.Open(v, ext4.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := open(volume)
	var log []logged
	now := testNow
	run := func(do func(f *ext4.FS, op *ext4.Op) error) {
		t.Helper()
		now = now.Add(12345678)
		op := ext4.Op{Now: now, UID: 5, GID: 6, Privileged: true, Decision: &ext4.Decision{}}
		if err := do(f, &op); err != nil {
			t.Fatal(err)
		}
		log = append(log, logged{op, do})
	}
	data := make([]byte, 150_000)
	for i := range data {
		data[i] = byte(i * 7)
	}
	inos := map[string]uint32{}
	create := func(dir uint32, name string) {
		run(func(f *ext4.FS, op *ext4.Op) error {
			a, err := f.Create(op, dir, name, 0o644)
			if old := inos[name]; err == nil && old != 0 && old != a.Ino {
				t.Fatalf("%s became inode %d, was %d", name, a.Ino, old)
			}
			inos[name] = a.Ino
			return err
		})
	}
	run(func(f *ext4.FS, op *ext4.Op) error { _, err := f.Mkdir(op, ext4.Root, "dir", 0o755); return err })
	dir, err := f.Walk("/dir", false)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 120 {
		name := fmt.Sprintf("a file with a rather long name %d", i)
		create(dir, name)
		run(func(f *ext4.FS, op *ext4.Op) error {
			_, err := f.WriteAt(op, inos[name], data[:100+i*1000], int64(i*100))
			return err
		})
		switch i % 5 {
		case 0:
			uid := uint32(i * i * 1000)
			run(func(f *ext4.FS, op *ext4.Op) error { return f.Setattr(op, inos[name], ext4.SetAttr{UID: &uid}) })
		case 1:
			run(func(f *ext4.FS, op *ext4.Op) error { return f.Unlink(op, dir, name) })
		case 2:
			run(func(f *ext4.FS, op *ext4.Op) error { return f.Rename(op, dir, name, ext4.Root, name, 0) })
		case 3:
			run(func(f *ext4.FS, op *ext4.Op) error { return f.Truncate(op, inos[name], 5000) })
			mode := ext4.PunchHole
			if extents {
				mode = ext4.Allocate
			}
			run(func(f *ext4.FS, op *ext4.Op) error { return f.Fallocate(op, inos[name], mode, false, 100_000, 30_000) })
		case 4:
			run(func(f *ext4.FS, op *ext4.Op) error { return f.SetXattr(op, inos[name], "user.k", data[:700], 0) })
		}
	}
	want := ext4test.Read(t, f)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	// The data is in place already: take over the blocks of the volume, but the
	// metadata of the state before.
	after := before.Clone()
	g := open(after)
	for k, l := range log {
		if !l.expect(t, g) {
			t.Fatalf("operation %d is not pending", k)
		}
	}
	for k, l := range log {
		recorded := *l.op.Decision
		if err := l.replay(g); err != nil {
			t.Fatalf("operation %d of %d: %v", k, len(log), err)
		}
		if got := *l.op.Decision; got.Ino != recorded.Ino || !reflect.DeepEqual(got.Blocks, recorded.Blocks) || !reflect.DeepEqual(got.Metadata, recorded.Metadata) {
			t.Fatalf("operation %d decided %+v, before %+v", k, got, recorded)
		}
	}
	// Blocks, inodes and times agree; the content is what WriteAt did not write.
	for path := range want {
		a, b := mustStat(t, f, volume, path), mustStat(t, g, nil, path)
		if a != b {
			t.Errorf("%s:\n first  %+v\n replay %+v", path, a, b)
		}
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	mustBeClean(t, after)
}

// mustStat describes a file and where its data lies; a volume is opened anew.
func mustStat(t *testing.T, f *ext4.FS, v *image.Memory, path string) string {
	t.Helper()
	if v != nil {
		var err error
		if f, err = ext4.Open(v, ext4.Options{ReadOnly: true}); err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	ino, err := f.Walk(path, false)
	if err != nil {
		t.Fatal(err)
	}
	a, err := f.Stat(ino)
	if err != nil {
		t.Fatal(err)
	}
	segments, _ := f.Segments(ino, 0, 1<<40, 1000)
	return fmt.Sprintf("%+v %v", a, segments)
}
