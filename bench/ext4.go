package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/image"
)

const (
	ext4Bytes     = 2 << 30   // of the volume that names and data are measured on
	ext4DataBytes = 256 << 20 // of the file that data is measured on
	ext4SideGrace = 5 * time.Minute
	ext4Dir       = "/dev/shm" // a tmpfs on every Linux
	ext4Inodes    = 2048       // bytes of volume for each inode, where there are many names
)

// volumes is one run of the ext4 benchmarks.
type volumes struct {
	Options
	dir   string
	sides []ext4Side
	// entries are the sizes of the directories that names are looked up in.
	entries []int
	// sizes are the volumes that are mounted, in bytes.
	sizes []int64
}

// ext4Side is a way to use a file system.
type ext4Side struct{ name, kind string }

// Ext4 measures the library beside Linux's ext4 on a loop device and fuse2fs,
// both over an image in a tmpfs (Options.Dir, or /dev/shm). The library works on
// a volume in memory, or where an image has to be prepared, on that image. The
// others need root and their programs (Debian: mount, fuse2fs); without them
// the comparison is left out, and Progress is told so.
//
// The others run in a mount namespace of their own, so that nothing stays
// mounted however a benchmark ends.
func Ext4(ctx context.Context, o Options) ([]Row, error) {
	v := &volumes{Options: o.withDefaults(), entries: []int{1, 1000, 1_000_000}, sizes: []int64{1 << 30, 16 << 40}}
	return v.all(ctx)
}

func (v *volumes) all(ctx context.Context) (rows []Row, err error) {
	if v.Dir == "" {
		v.Dir = ext4Dir
	}
	if v.dir, err = os.MkdirTemp(v.Dir, "quintet-bench-"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(v.dir)) }()
	v.sides = []ext4Side{{"quintet", sideLibrary}}
	for _, peer := range []struct {
		ext4Side
		program string
	}{{ext4Side{"Linux ext4 on loop", sideLinux}, "losetup"}, {ext4Side{"fuse2fs", sideFuse}, "fuse2fs"}} {
		_, missing := exec.LookPath(peer.program)
		switch {
		case os.Geteuid() != 0:
			v.say("left out: %s, which needs root", peer.name)
		case missing != nil:
			v.say("left out: %s, as %s is missing", peer.name, peer.program)
		default:
			v.sides = append(v.sides, peer.ext4Side)
		}
	}
	return v.run(ctx, []part{{"names", v.names}, {"data", v.data}, {"lookup", v.lookup}, {"mount", v.mount}})
}

// compare has every side do the same work, and returns its rows. image makes
// the image for one run, or returns an empty name for a volume in memory.
func (v *volumes) compare(ctx context.Context, what string, t task, units map[string]string, sides []ext4Side, image func(ext4Side) (string, error)) ([]Row, error) {
	t.Duration = v.Duration
	measurers := make([]measurer, len(sides))
	for i, side := range sides {
		measurers[i] = measurer{side.name, func(ctx context.Context) (measured figures, err error) {
			t := t
			t.Files = side.kind
			if t.Image, err = image(side); err != nil {
				return nil, err
			}
			if t.Mountpoint, err = os.MkdirTemp(v.dir, "mount-"); err != nil {
				return nil, err
			}
			if side.kind != sideLibrary {
				t.wrap = []string{"unshare", "--mount", "--propagation", "private"}
			}
			ctx, cancel := context.WithTimeout(ctx, t.Duration+ext4SideGrace)
			defer cancel()
			process, err := startSide(ctx, "ext4", t, anyCPU)
			if err != nil {
				return nil, err
			}
			return measured, errors.Join(process.result(&measured), os.Remove(t.Mountpoint))
		}}
	}
	results, err := v.alternateFigures(ctx, what, measurers)
	if err != nil {
		return nil, err
	}
	c := here()
	c.Rounds, c.Note = v.Rounds, t.Note
	var rows []Row
	for _, name := range slices.Sorted(maps.Keys(units)) {
		if len(sides) == 1 {
			rows = append(rows, Row{Name: name, Unit: units[name], Value: results[0][name], Conditions: c})
		}
		for i := 1; i < len(sides); i++ {
			rows = append(rows, compared(name, units[name], results[0][name], sides[i].name, results[i][name], c))
		}
	}
	return rows, nil
}

// fresh makes a new image in a file, over the one before, for sides that mount.
func (v *volumes) fresh(side ext4Side) (string, error) {
	if side.kind == sideLibrary {
		return "", nil
	}
	path := filepath.Join(v.dir, "fresh")
	return path, formatFile(path, ext4Bytes, 0)
}

func formatFile(path string, size, bytesPerInode int64) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	file, err := image.Create(path, size)
	if err != nil {
		return err
	}
	return errors.Join(ext4.Format(file, ext4.FormatOptions{Now: time.Now(), Zeroed: true, BytesPerInode: bytesPerInode}), file.Close())
}

func (v *volumes) names(ctx context.Context) ([]Row, error) {
	return v.compare(ctx, "names", task{Work: "names", Note: fmt.Sprintf("%d files in a directory, no sync; create+fsync: one each", namesBatch)},
		map[string]string{"create": "1/s", "rename": "1/s", "unlink": "1/s", "create+fsync": "1/s"}, v.sides, v.fresh)
}

func (v *volumes) data(ctx context.Context) ([]Row, error) {
	units := map[string]string{"write 1 MiB sequential": "MiB/s", "read 1 MiB sequential": "MiB/s", "write 4 KiB random": "1/s", "read 4 KiB random": "1/s"}
	direct := append([]ext4Side(nil), v.sides...)
	for i := range direct {
		if direct[i].kind == sideLinux {
			direct[i].name += ", O_DIRECT"
		}
	}
	rows, err := v.compare(ctx, "data", task{Work: "data", Direct: true, Note: "past the page cache, but for fuse2fs"}, units, direct, v.fresh)
	if err != nil || len(v.sides) == 1 {
		return rows, err
	}
	more, err := v.compare(ctx, "data", task{Work: "data", Note: "Linux through its page cache, written out at the end"}, units, v.sides[:2], v.fresh)
	return append(rows, more...), err
}

func (v *volumes) lookup(ctx context.Context) (rows []Row, err error) {
	for _, entries := range v.entries {
		v.say("lookup: making a directory of %d entries", entries)
		path := filepath.Join(v.dir, "entries")
		if err := manyEntries(path, entries); err != nil {
			return rows, err
		}
		name := fmt.Sprintf("look up and stat among %d", entries)
		t := task{Work: "lookup", Entries: entries, Note: fmt.Sprintf("random names, from right after mounting; cache of %d MiB", ext4.CacheBytesDefault>>20)}
		prepared := func(ext4Side) (string, error) { return path, nil }
		more, err := v.compare(ctx, "lookup", t, map[string]string{name: "1/s"}, v.sides, prepared)
		rows = append(rows, more...)
		if err != nil {
			return rows, err
		}
		if entries == v.entries[len(v.entries)-1] {
			more, err = v.compare(ctx, "lookup", t, map[string]string{"resident memory after " + name: "MiB"}, v.sides[:1], prepared)
			rows = append(rows, more...)
			if err != nil {
				return rows, err
			}
		}
	}
	return rows, os.Remove(filepath.Join(v.dir, "entries"))
}

// manyEntries makes an image with so many files in one directory.
func manyEntries(path string, entries int) (err error) {
	size := max(64<<20, 2*ext4Inodes*int64(entries))
	if err := formatFile(path, size, ext4Inodes); err != nil {
		return err
	}
	l, err := openLibrary(path, size)
	if err != nil {
		return err
	}
	for i := range entries {
		if err := l.create(entryName(i)); err != nil {
			return errors.Join(err, l.close())
		}
	}
	return l.close()
}

func entryName(i int) string { return fmt.Sprintf("entry-%07d", i) }

func (v *volumes) mount(ctx context.Context) (rows []Row, err error) {
	for _, size := range v.sizes {
		path := filepath.Join(v.dir, "sized")
		if err := formatFile(path, size, 0); err != nil {
			return rows, err
		}
		name := fmt.Sprintf("%d GiB", size>>30)
		more, err := v.compare(ctx, "mount", task{Work: "mount", Note: "sparse and empty; memory: of the process, for Linux the growth of its slabs"},
			map[string]string{"mount": "ms", "memory for it": "MiB"}, v.sides, func(ext4Side) (string, error) { return path, nil })
		for i := range more {
			more[i].Name = strings.Replace(more[i].Name, "mount", "mount "+name, 1)
			more[i].Name = strings.Replace(more[i].Name, "memory for it", "memory for a mount of "+name, 1)
		}
		rows = append(rows, more...)
		if err != nil {
			return rows, err
		}
	}
	return rows, os.Remove(filepath.Join(v.dir, "sized"))
}
