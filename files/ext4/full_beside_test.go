package ext4_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/internal/testenv"
)

// TestFullVolumesBesideTheKernel fills a volume by the kernel, and then does on copies of it,
// by the kernel and by us, what needs no block, what needs one of those kept for metadata,
// and what needs one that there is not: with the same answers.
func TestFullVolumesBesideTheKernel(t *testing.T) {
	testenv.Unraced(t)
	for _, args := range [][]string{{"-b", "1024"}, {"-b", "4096"}, {"-b", "1024", "-m", "0"}} {
		t.Run(fmt.Sprint(args), func(t *testing.T) { fullBeside(t, args) })
	}
}

func fullBeside(t *testing.T, args []string) {
	path := ext4test.Mkfs(t, 32<<20, args...)
	dir, unmount := ext4test.Mount(t, path, "")
	k := kernelSide{dir}
	const piece = 64 << 10
	data := bytes.Repeat([]byte{7}, piece)
	must(t, k.mkdir("dir"))
	for _, p := range []string{"dir/file", "dir/moved", "dir/gone", "holes", "filler"} {
		must(t, k.create(p))
		must(t, k.write(p, 0, data))
	}
	must(t, k.create("fallocated"))
	succeed(t, "fallocate", "-l", fmt.Sprint(40*piece), k.at("fallocated"))
	must(t, k.open("filler", os.O_RDWR, func(f *os.File) error {
		for _, size := range []int{piece, 1024} { // what there is no room for is told when it is written
			for off := int64(piece); ; off += int64(size) {
				if _, err := f.WriteAt(data[:size], off); errors.Is(err, syscall.ENOSPC) {
					break
				} else if err != nil {
					return err
				}
			}
		}
		return nil
	}))
	unmount()
	other := copyOf(t, path)
	dir, unmount = ext4test.Mount(t, path, "")
	k = kernelSide{dir}
	f, closeAll := openPath(t, other)
	ours := &ourSide{author{t, f, ext4.Op{Now: testNow, Privileged: true}}}
	const names = 200
	for n, do := range []func(side) error{
		func(s side) error { return s.chmod("dir/file", 0o600) },
		func(s side) error { return s.setxattr("dir/file", "user.small", []byte("in the inode")) },
		func(s side) error { return s.setxattr("dir/file", "user.large", data[:600]) },
		func(s side) error { return s.rename("dir/moved", "dir/there") },
		func(s side) error { return s.rename("dir/there", "there") },
		func(s side) error { return s.link("dir/file", "dir/linked") },
		func(s side) error { return s.symlink("short", "dir/short") },
		func(s side) error { return s.symlink(strings.Repeat("long", 50), "dir/long") },
		func(s side) error { return s.mkdir("dir/dir") },
		func(s side) error { return s.create("dir/made") },
		func(s side) error { return s.write("dir/made", 0, data[:1]) },
		func(s side) error { return s.write("dir/file", 100, data[:5000]) },
		func(s side) error { return s.write("filler", 1<<30, data) },
		func(s side) error { return s.setxattr("dir/file", "user.small", []byte("still in the inode")) },
		func(s side) error { // each splits an extent, until those that lead to them need blocks
			for n := range int64(300) {
				if err := s.write("fallocated", n*8192, data[:4096]); err != nil {
					return fmt.Errorf("write %d: %w", n, err)
				}
			}
			return nil
		},
		func(s side) error { return s.punch("holes", 20<<10, 4096) },
		func(s side) error { // until the directory would have to grow
			for n := range names {
				if err := s.create(fmt.Sprintf("dir/%d%s", n, strings.Repeat("n", 200))); err != nil {
					return err
				}
			}
			return nil
		},
		func(s side) error { return s.remove("dir/gone") },
		func(s side) error { return s.truncate("dir/file", 10) },
	} {
		ourErr, theirErr := do(ours), do(k)
		if n == 14 { // what is written is told when it has to be in place
			must(t, k.open("fallocated", os.O_RDWR, func(f *os.File) error { return f.Sync() }))
		}
		if !sameAnswer(ourErr, theirErr) {
			t.Errorf("operation %d: %v, the kernel: %v", n, ourErr, theirErr)
		}
	}
	unmount()
	closeAll()
	ext4test.Fsck(t, path)
	ext4test.Fsck(t, other)
}
