package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quintet-os/quintet/files/ext4"
	"github.com/quintet-os/quintet/files/ext4/image"
	"github.com/quintet-os/quintet/files/ext4/inspect"
)

// newMkfs, newFsck and newDebug work on plain image files, without servers.
func newMkfs() *cobra.Command {
	var size, label string
	var blockSize int
	c := &cobra.Command{
		Use:   "mkfs IMAGE",
		Short: "Make an ext4 file system in an image file or on a block device",
		Long: `Make an ext4 file system. With --size a new sparse file is made, which must not
exist; without it the file or device must exist, and what it holds is lost.`,
		Args: usage(1, 1, "the image"),
		RunE: func(_ *cobra.Command, args []string) error {
			v, fresh, err := mkfsTarget(args[0], size)
			if err != nil {
				return err
			}
			err = ext4.Format(v, ext4.FormatOptions{BlockSize: blockSize, Label: label, Now: time.Now(), Zeroed: fresh})
			err = errors.Join(err, v.Close())
			if err != nil && fresh {
				err = errors.Join(err, os.Remove(args[0]))
			}
			return err
		},
	}
	c.Flags().StringVar(&size, "size", "", "make a file of this `size`, as 64M, 10G or 1T")
	c.Flags().StringVar(&label, "label", "", "name of the volume, at most 16 bytes")
	c.Flags().IntVar(&blockSize, "block-size", 4096, "1024, 2048 or 4096 `bytes`")
	return c
}

func mkfsTarget(path, size string) (v *image.File, fresh bool, err error) {
	if size == "" {
		v, err := image.Open(path, true)
		return v, false, err
	}
	n, err := parseSize(size)
	if err != nil {
		return nil, false, fmt.Errorf("%w: --size: %w", errUsage, err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("%s exists; leave out --size to make a file system in it", path)
	}
	v, err = image.Create(path, n)
	return v, true, err
}

// parseSize reads a number with a unit of 1024, 1024^2, ...
func parseSize(s string) (int64, error) {
	units := "KMGT"
	shift := 0
	if n := len(s); n > 0 {
		if k := strings.IndexByte(units, s[n-1]&^0x20); k >= 0 {
			s, shift = s[:n-1], 10*(k+1)
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 || n > (1<<62)>>shift {
		return 0, fmt.Errorf("%q is no size", s)
	}
	return n << shift, nil
}

func newFsck(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "fsck IMAGE",
		Short: "Check an ext4 file system, changing nothing",
		Long: `Check an ext4 file system. A journal that was not emptied is replayed in memory
first. Exit code 1 when something is wrong; e2fsck can repair it.`,
		Args: usage(1, 1, "the image"),
		RunE: func(_ *cobra.Command, args []string) error {
			v, err := image.Open(args[0], false)
			if err != nil {
				return err
			}
			defer v.Close()
			r, err := ext4.Check(v)
			if err != nil {
				return err
			}
			if s.json {
				err = json.NewEncoder(os.Stdout).Encode(r)
			} else {
				printReport(args[0], r)
			}
			if err == nil && !r.Clean() {
				err = errSilent
			}
			return err
		},
	}
}

func printReport(path string, r *ext4.Report) {
	for _, p := range r.Problems {
		fmt.Println(p)
	}
	if r.Recovered {
		fmt.Println("the journal holds transactions; they were replayed in memory")
	}
	verdict := "clean"
	if !r.Clean() {
		verdict = fmt.Sprintf("%d problems", r.Count)
	}
	fmt.Printf("%s: %s; %d inodes, %d of them directories, %d blocks in use, %d orphans\n", path, verdict, r.Inodes, r.Dirs, r.Blocks, r.Orphans)
}

func newDebug() *cobra.Command {
	debug := &cobra.Command{Use: "debug", Short: "Look into on-disk structures"}
	e := &cobra.Command{Use: "ext4", Short: "Look into an ext4 image, changing nothing"}
	add := func(use, short string, max int, o ext4.Options, do func(f *ext4.FS, path string) error) {
		e.AddCommand(&cobra.Command{Use: use, Short: short, Args: usage(1, max, "the image"), RunE: func(_ *cobra.Command, args []string) error {
			v, err := image.Open(args[0], false)
			if err != nil {
				return err
			}
			defer v.Close()
			f, err := ext4.Open(v, o)
			if err != nil {
				return err
			}
			defer f.Close()
			path := ""
			if len(args) > 1 {
				path = args[1]
			}
			return do(f, path)
		}})
	}
	read := ext4.Options{ReadOnly: true}
	add("ls IMAGE [PATH]", "List a directory", 2, read, func(f *ext4.FS, path string) error { return inspect.Ls(os.Stdout, f, path) })
	add("cat IMAGE PATH", "Print a file", 2, read, func(f *ext4.FS, path string) error { return inspect.Cat(os.Stdout, f, path) })
	add("stat IMAGE [PATH]", "Describe a file, or the file system", 2, read, func(f *ext4.FS, path string) error { return inspect.Stat(os.Stdout, f, path) })
	add("journal IMAGE", "Describe the journal", 1, ext4.Options{NoRecovery: true}, func(f *ext4.FS, _ string) error { return inspect.Journal(os.Stdout, f) })
	debug.AddCommand(e)
	return debug
}
