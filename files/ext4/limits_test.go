package ext4_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/ext4test"
	"github.com/quintet-os/quintet/files/ext4/image"
	"github.com/quintet-os/quintet/internal/unix"
)

func openImage(t *testing.T, path string) (*image.File, *ext4.FS) {
	t.Helper()
	v, err := image.Open(path, true)
	if err != nil {
		t.Fatal(err)
	}
	f, err := ext4.Open(v, ext4.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return v, f
}

// TestAttributesFitWhereTheKernelSays adds attributes of all lengths to a file
// that has some, here and in the kernel: both must take and refuse the same.
func TestAttributesFitWhereTheKernelSays(t *testing.T) {
	for _, args := range [][]string{{"-b", "4096"}, {"-b", "1024"}, {"-b", "4096", "-I", "128"}, {"-b", "1024", "-I", "512"}} {
		t.Run(fmt.Sprint(args), func(t *testing.T) {
			path := ext4test.Mkfs(t, 32<<20, args...)
			lengths := []int{0, 1, 40, 41, 72, 73, 76, 77, 90, 100, 120, 200, 300, 350, 400, 500, 900, 950, 968, 972, 976, 980, 984, 988, 1000, 1024, 2000, 3000, 3900, 4000, 4020, 4032, 4040, 4044, 4048, 4052, 4064, 4096}
			counts := []int{0, 1, 3}
			each := func(do func(file string, had, n int) error) (accepted []string) {
				for _, had := range counts {
					for _, n := range lengths {
						file := fmt.Sprintf("file-%d-%d", had, n)
						if do(file, had, n) == nil {
							accepted = append(accepted, file)
						}
					}
				}
				return accepted
			}
			dir, unmount := ext4test.Mount(t, path, "")
			theirs := each(func(file string, had, n int) error {
				at := filepath.Join(dir, file)
				if err := os.WriteFile(at, nil, 0o600); err != nil {
					t.Fatal(err)
				}
				for i := range had {
					if err := unix.Lsetxattr(at, fmt.Sprintf("user.had%d", i), make([]byte, 30)); err != nil {
						t.Fatal(err)
					}
				}
				return unix.Lsetxattr(at, "user.x", make([]byte, n))
			})
			unmount()
			v, f := openImage(t, path)
			op := func() *ext4.Op { return &ext4.Op{Now: testNow, Privileged: true} }
			ours := each(func(file string, had, n int) error {
				a, err := f.Create(op(), ext4.Root, "ours-"+file, 0o600)
				if err != nil {
					t.Fatal(err)
				}
				for i := range had {
					if err := f.SetXattr(op(), a.Ino, fmt.Sprintf("user.had%d", i), make([]byte, 30), 0); err != nil {
						t.Fatal(err)
					}
				}
				err = f.SetXattr(op(), a.Ino, "user.x", make([]byte, n), 0)
				if k := ext4.KindOf(err); err != nil && k != ext4.KindRange && k != ext4.KindNoSpace {
					t.Fatal(err)
				}
				return err
			})
			if fmt.Sprint(ours) != fmt.Sprint(theirs) {
				t.Errorf("we take     %v\nthe kernel  %v", ours, theirs)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			v.Close()
			ext4test.Fsck(t, path)
		})
	}
}

// TestTimesAtTheEndsOfTheirRange are read by the kernel as they were set.
func TestTimesAtTheEndsOfTheirRange(t *testing.T) {
	path := ext4test.Mkfs(t, 32<<20)
	v, f := openImage(t, path)
	op := func() *ext4.Op { return &ext4.Op{Now: testNow} }
	seconds := []int64{-1 << 31, -1, 0, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<33 + 5, 3<<32 + 1<<31 - 1}
	for _, s := range seconds {
		a, err := f.Create(op(), ext4.Root, fmt.Sprint(s), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		at := time.Unix(s, 999_999_999)
		if err := f.Setattr(op(), a.Ino, ext4.SetAttr{Atime: &at, Mtime: &at}); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	v.Close()
	ext4test.Fsck(t, path)
	dir, _ := ext4test.Mount(t, path, "ro")
	for _, s := range seconds {
		info, err := os.Stat(filepath.Join(dir, fmt.Sprint(s)))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.ModTime(); got.Unix() != s || got.Nanosecond() != 999_999_999 {
			t.Errorf("the kernel reads %d.%09d, %d.999999999 was set", got.Unix(), got.Nanosecond(), s)
		}
	}
}
