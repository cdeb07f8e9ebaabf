package ext4_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/crashtest"
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
	"github.com/quintet-os/quintet/internal/testenv"
)

// openPath opens the image at path for changing; close ends it.
func openPath(t *testing.T, path string) (f *ext4.FS, closeAll func()) {
	t.Helper()
	return openPathWith(t, path, ext4.Options{})
}

func openPathWith(t *testing.T, path string, o ext4.Options) (f *ext4.FS, closeAll func()) {
	t.Helper()
	v, err := image.Open(path, !o.ReadOnly)
	must(t, err)
	if f, err = ext4.Open(v, o); err != nil {
		v.Close()
		t.Fatal(err)
	}
	return f, func() {
		t.Helper()
		must(t, f.Close())
		must(t, v.Close())
	}
}

func succeed(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, code := ext4test.Run(t, name, args...)
	if code != 0 {
		t.Fatalf("%s %v: status %d: %s", name, args, code, out)
	}
	return out
}

// TestIndexesOfAFileSystemWithoutThem switches dir_index off when directories
// have indexes, whose blocks then look like unused entries.
func TestIndexesOfAFileSystemWithoutThem(t *testing.T) {
	testenv.Unraced(t)
	path := ext4test.Mkfs(t, 32<<20, "-b", "1024", "-N", "8192", "-O", "^metadata_csum,uninit_bg")
	dir, unmount := ext4test.Mount(t, path, "")
	const names = 3000
	for _, d := range []string{"many", "kernel's"} {
		must(t, os.Mkdir(filepath.Join(dir, d), 0o755))
		for k := range names {
			must(t, os.WriteFile(filepath.Join(dir, d, fmt.Sprintf("a name of some length %d", k)), nil, 0o644))
		}
	}
	unmount()
	succeed(t, "tune2fs", "-O", "^dir_index", path)
	f, closeAll := openPath(t, path)
	many, err := f.Lookup(ext4.Root, "many")
	must(t, err)
	ours := ext4test.Read(t, f) // looks every name up
	if len(ours) < 2*names {
		t.Fatalf("%d paths", len(ours))
	}
	op := &ext4.Op{Now: testNow}
	for k := range names {
		name := fmt.Sprintf("a name of some length %d", k)
		if _, err := f.Create(op, many, name, 0o644); !errors.Is(err, ext4.KindExist) {
			t.Fatalf("creating %q, which exists: %v", name, err)
		}
	}
	if a, err := f.Stat(many); err != nil || a.Flags&disk.FlagIndex == 0 {
		t.Fatalf("nothing was added, flags %#x, %v", a.Flags, err)
	}
	for k := range 500 {
		must(t, f.Unlink(op, many, fmt.Sprintf("a name of some length %d", 2*k)))
		_, err := f.Create(op, many, fmt.Sprintf("another %d", k), 0o644)
		must(t, err)
	}
	if a, err := f.Stat(many); err != nil || a.Flags&disk.FlagIndex != 0 {
		t.Fatalf("names were added, flags %#x, %v", a.Flags, err)
	}
	ours = ext4test.Read(t, f)
	closeAll()
	dir, unmount = ext4test.Mount(t, path, "")
	ext4test.Compare(t, ours, ext4test.KernelTree(t, dir))
	must(t, os.WriteFile(filepath.Join(dir, "kernel's", "one more"), nil, 0o644))
	unmount()
	ext4test.Fsck(t, path)
	if r := checkPath(t, path); !r.Clean() {
		t.Fatal(r.Problems)
	}
}

// TestIndexesWithChecksumsNeedTheFeature has checksums, which leave no room for
// passing over the index: the kernel refuses the directory.
func TestIndexesWithChecksumsNeedTheFeature(t *testing.T) {
	path := ext4test.Mkfs(t, 32<<20, "-N", "4096")
	dir, unmount := ext4test.Mount(t, path, "")
	populate(t, dir, 1000)
	unmount()
	crashtest.Debugfs(t, path, true, "feature -dir_index")
	f, closeAll := openPath(t, path)
	many, err := f.Lookup(ext4.Root, "many")
	must(t, err)
	if _, err := f.Lookup(many, "entry-1-b"); !errors.Is(err, disk.ErrCorrupt) {
		t.Errorf("looking a name up: %v", err)
	}
	if _, err := f.Create(&ext4.Op{Now: testNow}, many, "new", 0o644); !errors.Is(err, disk.ErrCorrupt) {
		t.Errorf("adding a name: %v", err)
	}
	closeAll()
	dir, unmount = ext4test.Mount(t, path, "errors=continue")
	if _, err := os.ReadDir(filepath.Join(dir, "many")); err == nil {
		t.Error("the kernel reads the directory")
	}
	unmount()
}

// TestTypesLeftWithoutFiletype switches filetype off: the byte of the type is
// then of no meaning, and still there.
func TestTypesLeftWithoutFiletype(t *testing.T) {
	path := ext4test.Mkfs(t, 32<<20, "-b", "1024", "-N", "8192", "-O", "^metadata_csum,uninit_bg")
	dir, unmount := ext4test.Mount(t, path, "")
	populate(t, dir, 1000)
	unmount()
	crashtest.Debugfs(t, path, true, "feature -filetype")
	dir, unmount = ext4test.Mount(t, path, "")
	theirs := ext4test.KernelTree(t, dir)
	unmount()
	f, closeAll := openPath(t, path)
	ext4test.Compare(t, ext4test.Read(t, f), theirs)
	a := &author{t, f, ext4.Op{Now: testNow}}
	must(t, f.Rename(a.next(), ext4.Root, "small", ext4.Root, "moved", 0))
	many, err := f.Lookup(ext4.Root, "many")
	must(t, err)
	for k := range 300 {
		a.file(many, fmt.Sprintf("new %d", k), nil, 0)
	}
	ours := ext4test.Read(t, f)
	closeAll()
	dir, unmount = ext4test.Mount(t, path, "")
	ext4test.Compare(t, ours, ext4test.KernelTree(t, dir))
	unmount()
	if r := checkPath(t, path); !strings.Contains(strings.Join(r.Problems, "\n"), "has a type") {
		t.Errorf("what e2fsck clears is not reported: %v", r.Problems)
	}
}

// TestDamagedOrphanFileIsRefused damages the file of orphans of a volume that
// has none: Linux refuses the mount, and so do we.
func TestDamagedOrphanFileIsRefused(t *testing.T) {
	path := ext4test.Mkfs(t, 32<<20, "-O", "orphan_file")
	v, err := image.Open(path, true)
	must(t, err)
	sb, err := ext4.ReadSuperblock(v)
	must(t, err)
	f, err := ext4.Open(v, ext4.Options{ReadOnly: true})
	must(t, err)
	var last uint64
	must(t, f.Extents(sb.OrphanFileInode, func(x disk.Extent) bool {
		last = x.Physical + uint64(x.Len) - 1
		return true
	}))
	must(t, f.Close())
	block := make([]byte, sb.BlockSize())
	_, err = v.ReadAt(block, int64(last)*int64(len(block)))
	must(t, err)
	block[len(block)-1] ^= 1 // the checksum
	_, err = v.WriteAt(block, int64(last)*int64(len(block)))
	must(t, err)
	if _, err := ext4.Open(v, ext4.Options{}); !errors.Is(err, disk.ErrCorrupt) || !strings.Contains(err.Error(), "orphan file") {
		t.Errorf("opened for writing: %v", err)
	}
	f, err = ext4.Open(v, ext4.Options{ReadOnly: true})
	must(t, err)
	must(t, f.Close())
	must(t, v.Close())
	if r := checkPath(t, path); !strings.Contains(strings.Join(r.Problems, "\n"), "orphan file") {
		t.Errorf("problems: %v", r.Problems)
	}
	if out, code := ext4test.Run(t, "mount", "-o", "loop", path, t.TempDir()); code == 0 {
		t.Errorf("the kernel mounts it: %s", out)
	}
}

// TestImpossibleSuperblocksAreNamed has superblocks that Linux refuses.
func TestImpossibleSuperblocksAreNamed(t *testing.T) {
	for _, c := range []struct {
		name, want string
		args       []string
		set        string
	}{
		{"first_meta_bg", "first meta group 7", []string{"-O", "meta_bg,^resize_inode"}, "set_super_value first_meta_bg 7"},
		{"journal device", "journal_dev", []string{"-O", "journal_dev"}, ""},
		{"two journals", "a journal in inode 8, and another", nil, "set_super_value journal_dev 0x801"},
		{"clusters", "clusters", nil, "set_super_value log_cluster_size 3"},
		{"clusters of a group", "clusters", nil, "set_super_value clusters_per_group 4096"},
		{"first inode", "first inode 10", nil, "set_super_value first_ino 10"},
		{"the Hurd", "Hurd", nil, "set_super_value creator_os 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := ext4test.Mkfs(t, 32<<20, c.args...)
			if c.set != "" {
				crashtest.Debugfs(t, path, true, c.set)
			}
			if out, code := ext4test.Run(t, "mount", "-o", "loop,ro", path, t.TempDir()); code == 0 {
				t.Fatalf("the kernel mounts it: %s", out)
			}
			v, err := image.Open(path, false)
			must(t, err)
			defer v.Close()
			if _, err = ext4.Open(v, ext4.Options{ReadOnly: true}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one that names %s", err, c.want)
			}
		})
	}
}

// TestSpaceIsCountedAsByTheKernel compares the blocks there are for files.
func TestSpaceIsCountedAsByTheKernel(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			path := ext4test.Mkfs(t, v.size, v.args...)
			dir, unmount := ext4test.Mount(t, path, "")
			out := succeed(t, "stat", "-f", "-c", "%b %f %a %c %d", dir)
			unmount()
			volume, err := image.Open(path, false)
			must(t, err)
			defer volume.Close()
			f, err := ext4.Open(volume, ext4.Options{ReadOnly: true})
			must(t, err)
			s := f.Statfs()
			must(t, f.Close())
			if got := fmt.Sprintln(s.Blocks, s.Free, s.Available, s.Inodes, s.FreeInodes); got != out {
				t.Errorf("blocks, free, available, inodes, free: %s the kernel has %s", got, out)
			}
		})
	}
}

// TestFlagsAreInheritedAsByTheKernel makes everything in a directory with every
// flag that can be set.
func TestFlagsAreInheritedAsByTheKernel(t *testing.T) {
	path := ext4test.Mkfs(t, 32<<20)
	dir, unmount := ext4test.Mount(t, path, "")
	parents := []string{"S", "A", "d", "D", "T", "s", "u", "c", "SAd"}
	for _, flags := range parents {
		name := filepath.Join(dir, flags)
		must(t, os.Mkdir(name, 0o755))
		succeed(t, "chattr", "+"+flags, name)
		must(t, os.Mkdir(filepath.Join(name, "dir"), 0o755))
		must(t, os.WriteFile(filepath.Join(name, "file"), nil, 0o644))
		must(t, os.Symlink("to", filepath.Join(name, "link")))
		succeed(t, "mkfifo", filepath.Join(name, "fifo"))
	}
	unmount()
	f, closeAll := openPath(t, path)
	a := &author{t, f, ext4.Op{Now: testNow}}
	for _, flags := range parents {
		d, err := f.Lookup(ext4.Root, flags)
		must(t, err)
		made := map[string]uint32{}
		at, err := f.Mkdir(a.next(), d, "our dir", 0o755)
		must(t, err)
		made["dir"] = at.Flags
		at, err = f.Create(a.next(), d, "our file", 0o644)
		must(t, err)
		made["file"] = at.Flags
		at, err = f.Symlink(a.next(), d, "our link", "to")
		must(t, err)
		made["link"] = at.Flags
		at, err = f.Mknod(a.next(), d, "our fifo", disk.ModeFIFO|0o644, 0, 0)
		must(t, err)
		made["fifo"] = at.Flags
		for name, ours := range made {
			ino, err := f.Lookup(d, name)
			must(t, err)
			theirs, err := f.Stat(ino)
			must(t, err)
			if ours != theirs.Flags {
				t.Errorf("%s in a directory with %s: flags %#x, the kernel's %#x", name, flags, ours, theirs.Flags)
			}
		}
	}
	closeAll()
	ext4test.Fsck(t, path)
}

// TestAppendOnlyFilesKeepWhatTheyHold tries what changes a file that may only be
// appended to. As in Linux (vfs_fallocate, notify_change), allocating beforehand
// is none of that, since nothing it holds changes.
func TestAppendOnlyFilesKeepWhatTheyHold(t *testing.T) {
	volume, f := fullFS(t)
	a := &author{t, f, ext4.Op{Now: testNow, Privileged: true}}
	flags, mode, owner := uint32(disk.FlagAppend), uint16(0o600), uint32(7)
	for name, content := range map[string][]byte{"empty": nil, "full": []byte("content")} {
		ino := a.file(ext4.Root, name, content, 0)
		must(t, f.Setattr(a.next(), ino, ext4.SetAttr{Flags: &flags}))
		_, over := f.WriteAt(a.next(), ino, []byte("x"), 0)
		_, behind := f.WriteAt(a.next(), ino, []byte("x"), 7)
		for what, c := range map[string]struct {
			err   error
			right bool
		}{
			"write over":        {over, name == "empty"},
			"append":            {behind, true},
			"allocate, keeping": {f.Fallocate(a.next(), ino, ext4.Allocate, true, 0, 8192), true},
			"allocate":          {f.Fallocate(a.next(), ino, ext4.Allocate, false, 0, 8192), true},
			"punch":             {f.Fallocate(a.next(), ino, ext4.PunchHole, true, 0, 8192), false},
			"zero":              {f.Fallocate(a.next(), ino, ext4.ZeroRange, false, 0, 8192), false},
			"truncate":          {f.Truncate(a.next(), ino, 100), false},
			"extend":            {f.Truncate(a.next(), ino, 100_000), false},
			"chmod":             {f.Setattr(a.next(), ino, ext4.SetAttr{Mode: &mode}), false},
			"chown":             {f.Setattr(a.next(), ino, ext4.SetAttr{UID: &owner}), false},
		} {
			if c.right && c.err != nil || !c.right && ext4.KindOf(c.err) != ext4.KindPermission {
				t.Errorf("%s of the %s file: %v", what, name, c.err)
			}
		}
	}
	closeWhole(t, volume, f)
}

func TestNoReplaceComesFirst(t *testing.T) {
	volume, f := fullFS(t)
	a := &author{t, f, ext4.Op{Now: testNow}}
	top, err := f.Mkdir(a.next(), ext4.Root, "top", 0o755)
	must(t, err)
	below, err := f.Mkdir(a.next(), top.Ino, "below", 0o755)
	must(t, err)
	a.file(below.Ino, "file", nil, 0)
	a.file(below.Ino, "other", nil, 0)
	for _, c := range []struct {
		from  uint32
		name  string
		to    uint32
		as    string
		flags ext4.RenameFlags
		want  ext4.Kind
	}{
		{below.Ino, "file", ext4.Root, "top", ext4.NoReplace, ext4.KindExist}, // its own ancestor
		{below.Ino, "file", ext4.Root, "top", 0, ext4.KindNotEmpty},
		{below.Ino, "file", ext4.Root, "top", ext4.Exchange, ext4.KindInvalid},
		{ext4.Root, "top", below.Ino, "file", ext4.NoReplace, ext4.KindExist}, // into itself
		{ext4.Root, "top", below.Ino, "new", ext4.NoReplace, ext4.KindInvalid},
		{ext4.Root, "top", below.Ino, "new", ext4.Exchange, ext4.KindNotExist},
		{below.Ino, "file", below.Ino, "other", ext4.NoReplace, ext4.KindExist},
		{below.Ino, "file", below.Ino, "file", ext4.NoReplace, ext4.KindExist},
		{below.Ino, "gone", below.Ino, "file", ext4.NoReplace, ext4.KindNotExist},
	} {
		if err := f.Rename(a.next(), c.from, c.name, c.to, c.as, c.flags); ext4.KindOf(err) != c.want {
			t.Errorf("%s to %s, flags %d: %v, want %v", c.name, c.as, c.flags, err, c.want)
		}
	}
	closeWhole(t, volume, f)
}

// TestInodesOfTheFileSystemAreLeftAlone tries to change inodes that are not for
// users, which are numbers like others to who calls.
func TestInodesOfTheFileSystemAreLeftAlone(t *testing.T) {
	path := ext4test.Mkfs(t, 32<<20, "-O", "orphan_file", "-N", "1024")
	f, closeAll := openPath(t, path)
	a := &author{t, f, ext4.Op{Now: testNow, Privileged: true}}
	sb := f.Superblock()
	mode, size := uint16(0o777), int64(0)
	for _, ino := range []uint32{disk.ResizeIno, disk.JournalIno, sb.OrphanFileInode} {
		for what, err := range map[string]error{
			"link":        f.Link(a.next(), ino, ext4.Root, "linked"),
			"setxattr":    f.SetXattr(a.next(), ino, "user.x", []byte("x"), 0),
			"chmod":       f.Setattr(a.next(), ino, ext4.SetAttr{Mode: &mode}),
			"truncate":    f.Setattr(a.next(), ino, ext4.SetAttr{Size: &size}),
			"fallocate":   f.Fallocate(a.next(), ino, ext4.PunchHole, true, 0, 1<<20),
			"removexattr": f.RemoveXattr(a.next(), ino, "user.x"),
		} {
			if ext4.KindOf(err) != ext4.KindPermission {
				t.Errorf("%s of inode %d: %v", what, ino, err)
			}
		}
	}
	closeAll()
	ext4test.Fsck(t, path)
	crashtest.Debugfs(t, path, true, "link <8> named")
	f, closeAll = openPath(t, path)
	if _, err := f.Lookup(ext4.Root, "named"); !errors.Is(err, disk.ErrCorrupt) {
		t.Errorf("a name of the journal: %v", err)
	}
	closeAll()
}

// TestInlineDirectoriesCountAsByTheKernel compares all that stat says of them.
func TestInlineDirectoriesCountAsByTheKernel(t *testing.T) {
	path := ext4test.Mkfs(t, 32<<20, "-O", "inline_data")
	dir, unmount := ext4test.Mount(t, path, "")
	for _, n := range []int{0, 2, 200} {
		d := filepath.Join(dir, fmt.Sprint("dir", n))
		must(t, os.Mkdir(d, 0o755))
		for k := range n {
			must(t, os.WriteFile(filepath.Join(d, fmt.Sprint("name", k)), []byte("data"), 0o644))
		}
	}
	theirs := map[string]string{}
	for _, name := range []string{"dir0", "dir2", "dir200", "dir2/name0"} {
		theirs[name] = strings.TrimSpace(succeed(t, "stat", "-c", "%b", filepath.Join(dir, name)))
	}
	unmount()
	v, err := image.Open(path, false)
	must(t, err)
	defer v.Close()
	f, err := ext4.Open(v, ext4.Options{ReadOnly: true})
	must(t, err)
	for name, want := range theirs {
		ino, err := f.Walk("/"+name, true)
		must(t, err)
		a, err := f.Stat(ino)
		must(t, err)
		if got := strconv.FormatUint(a.Blocks, 10); got != want {
			t.Errorf("%s: %s sectors, the kernel says %s", name, got, want)
		}
	}
	must(t, f.Close())
}
