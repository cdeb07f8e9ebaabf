package ext4_test

import (
	"errors"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/disk"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
)

// flip inverts a byte of an image, at so many bytes from the start of a block of 1 KiB.
func flip(t *testing.T, path string, block, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	p := make([]byte, 1)
	_, err = f.ReadAt(p, block<<10+off)
	must(t, err)
	p[0] = ^p[0]
	_, err = f.WriteAt(p, block<<10+off)
	must(t, errors.Join(err, f.Close()))
}

// numbersOf finds numbers in what debugfs says.
func numbersOf(t *testing.T, path, command, pattern string) (list []int64) {
	t.Helper()
	out := succeed(t, "debugfs", "-R", command, path)
	m := regexp.MustCompile(pattern).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("%s: %s", command, out)
	}
	for _, s := range m[1:] {
		n, err := strconv.ParseInt(s, 0, 64)
		must(t, err)
		list = append(list, n)
	}
	return list
}

// TestDamageThatIsMetIsRecorded meets a damaged extent tree and a damaged inode while a volume
// is open, and goes on or not, as the volume says. Its superblock tells of both then, and
// e2fsck looks.
func TestDamageThatIsMetIsRecorded(t *testing.T) {
	for _, behaviour := range []string{"continue", "remount-ro"} {
		t.Run(behaviour, func(t *testing.T) {
			path := ext4test.Mkfs(t, 64<<20, "-e", behaviour, "-b", "1024")
			f, closeAll := openPath(t, path)
			a := &author{t, f, ext4.Op{Now: testNow, Privileged: true}}
			bad := a.file(ext4.Root, "bad", []byte("content"), 0)
			deep := a.file(ext4.Root, "deep", []byte("content"), 0)
			for n := range int64(20) {
				_, err := f.WriteAt(a.next(), deep, []byte("x"), n*4096)
				must(t, err)
			}
			closeAll()
			node := numbersOf(t, path, "stat deep", `\(ETB0\):(\d+)`)[0]
			flip(t, path, node, 1000)
			at := numbersOf(t, path, "imap bad", `block (\d+), offset (0x[0-9a-f]+)`)
			flip(t, path, at[0], at[1]+16)

			// Who only looks writes nothing.
			before, err := os.ReadFile(path)
			must(t, err)
			f, closeAll = openPathWith(t, path, ext4.Options{ReadOnly: true})
			if _, err := f.Stat(bad); !errors.Is(err, disk.ErrCorrupt) {
				t.Fatalf("a damaged inode: %v", err)
			}
			closeAll()
			if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
				t.Errorf("a volume that was only read has changed: %v", err)
			}

			f, closeAll = openPath(t, path)
			a.f = f
			if _, err := f.ReadAt(deep, make([]byte, 1), 4096); !errors.Is(err, disk.ErrCorrupt) {
				t.Fatalf("damaged extents: %v", err)
			}
			if _, err := f.Stat(bad); !errors.Is(err, disk.ErrCorrupt) {
				t.Fatalf("a damaged inode: %v", err)
			}
			_, err = f.Mkdir(a.next(), ext4.Root, "afterwards", 0o755)
			if refused := ext4.KindOf(err) == ext4.KindReadOnly; refused != (behaviour == "remount-ro") || !refused && err != nil {
				t.Errorf("a change afterwards: %v", err)
			}
			must(t, f.Sync())
			dead := copyOf(t, path) // as the process leaves it
			closeAll()
			g, closeDead := openPath(t, dead)
			must(t, g.Sync())
			closeDead()
			for _, p := range []string{path, dead} {
				out := succeed(t, "dumpe2fs", "-h", p)
				for _, want := range []string{`state: +clean with errors`, `FS Error count: +2`, `First error function: +extent`, `First error block #: +` + strconv.FormatInt(node, 10),
					`First error err: +EFSCORRUPTED`, `Last error function: +inode`, `Last error inode #: +` + strconv.Itoa(int(bad))} {
					if !regexp.MustCompile(want).MatchString(out) {
						t.Errorf("dumpe2fs does not say %q:\n%s", want, out)
					}
				}
				if out, code := ext4test.Run(t, "e2fsck", "-p", p); !strings.Contains(out, "check forced") {
					t.Errorf("e2fsck -p: status %d\n%s", code, out)
				}
			}
		})
	}
}

// TestOrphansThatAreNone opens a volume whose list of orphans leads to what is none: Linux
// takes the list as ended, and e2fsck is to look.
func TestOrphansThatAreNone(t *testing.T) {
	for _, ino := range []string{"3", "14", "1000000"} {
		path := ext4test.Mkfs(t, 64<<20)
		succeed(t, "debugfs", "-w", "-R", "set_super_value last_orphan "+ino, path)
		f, closeAll := openPath(t, path)
		a := &author{t, f, ext4.Op{Now: testNow, Privileged: true}}
		a.file(ext4.Root, "file", []byte("content"), 0)
		closeAll()
		if out := succeed(t, "dumpe2fs", "-h", path); !strings.Contains(out, "clean with errors") || strings.Contains(out, "First orphan inode") {
			t.Errorf("orphan %s:\n%s", ino, out)
		}
		ext4test.Fsck(t, path)
	}
}

// TestImpossibleExtraIsize makes files on volumes whose superblock wants more of an inode for
// its fields than there is: as Linux, they get what is usual.
func TestImpossibleExtraIsize(t *testing.T) {
	for _, want := range []string{"200", "65535", "33"} {
		path := ext4test.Mkfs(t, 64<<20)
		succeed(t, "debugfs", "-w", "-R", "set_super_value want_extra_isize "+want, path)
		f, closeAll := openPath(t, path)
		a := &author{t, f, ext4.Op{Now: testNow, Privileged: true}}
		ino := a.file(ext4.Root, "file", []byte("content"), 0)
		must(t, f.SetXattr(a.next(), ino, "user.k", []byte("value"), 0))
		closeAll()
		if out := succeed(t, "debugfs", "-R", "stat file", path); !strings.Contains(out, "Size of extra inode fields: 32\n") {
			t.Errorf("want_extra_isize %s:\n%s", want, out)
		}
	}
}
